"""Start-up checks that need no process: the server's version, and the role's statement timeout."""

import socket
import struct
import threading

import pytest
from psycopg import Connection

from lib.checks import check_database
from lib.command_errors import CommandError
from lib.config import Config
from tests.conftest import FRONTEND
from tests.tokens import pool


def message(kind: bytes, body: bytes) -> bytes:
    """Encode a message of the Postgres protocol, version 3."""
    return kind + struct.pack(">i", len(body) + 4) + body


def greet_as(version: str, listener: socket.socket) -> None:
    """Accept one client and greet it as a server of `version` does."""
    client, _ = listener.accept()
    with client:
        while struct.unpack(">ii", client.recv(4096)[:8])[1] != 0x30000:
            client.sendall(b"N")
        parameters = {"server_version": version, "client_encoding": "UTF8", "TimeZone": "UTC"}
        parameter_messages = b"".join(
            message(b"S", f"{name}\0{value}\0".encode()) for name, value in parameters.items()
        )
        client.sendall(message(b"R", struct.pack(">i", 0)) + parameter_messages + message(b"Z", b"I"))
        client.recv(4096)


def test_server_older_than_15_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        greeting = threading.Thread(target=greet_as, args=("14.6", listener))
        greeting.start()
        url = f"postgresql://owner@127.0.0.1:{listener.getsockname()[1]}/cruddur"
        with pytest.raises(CommandError) as failure:
            check_database(Config(connection_url=url, frontend_urls=(FRONTEND,), **pool()))
        greeting.join()

    assert str(failure.value) == "the server is Postgres 14: point CONNECTION_URL to version 15 or newer"


@pytest.mark.parametrize(("timeout", "warnings"), [("1999ms", 0), ("2s", 1), ("0", 0)])
def test_statement_timeout_above_database_timeout_is_a_warning(
    timeout: str, warnings: int, service_url: str, owner: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    owner.execute(
        f"ALTER ROLE cruddur_service IN DATABASE {owner.info.dbname} SET statement_timeout TO '{timeout}'".encode()
    )

    check_database(Config(connection_url=service_url, frontend_urls=(FRONTEND,), database_timeout=2, **pool()))

    warning = (
        "cruddur: the role's statement_timeout of 2000 ms is not below DATABASE_TIMEOUT_SECONDS=2: a slow statement "
        "costs its connection. Run bin/db-create, which sets 1800 ms, or ALTER ROLE ... SET statement_timeout to less "
        "than 2000 ms"
    )
    assert [record.getMessage() for record in caplog.records] == warnings * [warning]
