"""A Postgres with TLS and a zip for the run; a shared warm function, and functions with other settings."""

import socketserver
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.postgres import tls_programs
from harness.stubs import listening
from harness.tls_postgres import TlsPostgres, tls_postgres
from lib.command_errors import CommandError
from ops.command import Database
from ops.create_database import create
from ops.lambda_role import ROLE, lambda_role
from ops.roles import set_password
from ops.schema_load import schema_load
from tests.lambda_runtime import Function, Lambda, started, unpacked
from tests.post_confirmation.directory import Directory
from tests.post_confirmation.scene import ENCODED, PASSWORD, assert_no_personal_data

Start = Callable[..., Lambda]


@pytest.fixture(scope="session")
def passwords() -> list[str]:
    """Return the list of passwords that the directory has received."""
    return []


@pytest.fixture(scope="session")
def postgres(passwords: list[str]) -> Iterator[TlsPostgres]:
    """Run a server with TLS only for the role. For `tokens`, an LDAP directory checks the passwords."""
    handler = type("Judge", (Directory,), {"passwords": passwords})
    with listening(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)) as port:
        hba = (
            f'hostssl tokens {ROLE} 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={port} ldapprefix="cn="\n'
            f"hostssl cruddur {ROLE} 127.0.0.1/32 scram-sha-256"
        )
        with postgres_or_skip(hba) as server:
            for name in ("cruddur", "tokens"):
                prepare(Database("CONNECTION_URL", make_conninfo(server.owner_url, dbname=name)))
            yield server


@contextmanager
def postgres_or_skip(hba: str) -> Iterator[TlsPostgres]:
    """Run the server, or skip the test where there is no Postgres with TLS."""
    try:
        tls_programs()
    except CommandError as error:
        pytest.skip(str(error))
    with tls_postgres(hba) as server:
        yield server


def prepare(database: Database) -> None:
    """Create a database with the schema and the role."""
    create(database)
    schema_load(database)
    lambda_role(database)
    with database.connect() as connection:
        set_password(connection, ROLE, PASSWORD)


@pytest.fixture
def owner(postgres: TlsPostgres) -> Iterator[psycopg.Connection]:
    """Connect to that server as the owner, and delete all users."""
    with psycopg.connect(postgres.owner_url, autocommit=True) as connection:
        connection.execute("DELETE FROM users")
        yield connection


@pytest.fixture(scope="session")
def function(postgres: TlsPostgres, tmp_path_factory: pytest.TempPathFactory) -> Function:
    """Unpack the zip, with that server's CA in it."""
    if sys.platform != "linux":
        pytest.skip("the zip is for Linux")
    return unpacked(tmp_path_factory.mktemp("lambda"), postgres.ca)


@pytest.fixture(scope="session")
def warm(function: Function, postgres: TlsPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lambda]:
    """Start the function with a password in its URL, once for all tests that share it."""
    url = postgres.url(f"{ROLE}:{ENCODED}")
    with started(function, tmp_path_factory.mktemp("log"), CONNECTION_URL=url) as running:
        yield running
        assert_no_personal_data(running.output())


@pytest.fixture
def start(function: Function, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts the Lambda with other settings."""
    with ExitStack() as ends:

        def start(**settings: str) -> Lambda:
            running = ends.enter_context(started(function, tmp_path, **settings))
            ends.callback(lambda: assert_no_personal_data(running.output()))
            return running

        yield start
