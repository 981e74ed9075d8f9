"""bin/serve: production's way to run, and what keeps it from starting."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.conftest import FRONTEND, Make
from tests.running import free_port, running, script

RIGHT = {"CONNECTION_URL": "postgresql://127.0.0.1:1/cruddur", "FRONTEND_URL": FRONTEND}


def get(port: str, path: str) -> tuple[int, bytes]:
    """Status and body of a GET, as soon as somebody listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as connection:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise


@contextmanager
def serving(service_url: str, *, says: str = "", **settings: str) -> Iterator[str]:
    """The port of a service that runs as in production, and says nothing but the line `says`."""
    port = free_port()
    with running("serve", **{**RIGHT, "CONNECTION_URL": service_url, "PORT": port, **settings}) as server:
        assert get(port, "/api/health-check")[0] == HTTPStatus.OK
        yield port
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=30)
    assert (server.returncode, out, err.partition("\n")[0]) == (0, "", says)


def fails(**settings: str) -> list[str]:
    """What a service that must not start says."""
    done = script("serve", **{"PORT": free_port(), **RIGHT, **settings})
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_it_serves_the_feed_with_several_processes_until_sigterm(
    service_url: str, owner: psycopg.Connection, make: Make
) -> None:
    make.activity(make.user("LinYue"), "served")

    with serving(service_url, WEB_CONCURRENCY="2") as port:
        status, body = get(port, "/api/activities/home")
        assert (status, b'"message":"served"' in body) == (200, True)
        deadline = time.monotonic() + 10
        sessions = """
            SELECT count(*) FROM pg_stat_activity WHERE usename = 'cruddur_service' AND datname = current_database()
        """
        # Each process has a pool of four.
        while owner.execute(sessions.encode()).fetchone() != (8,):
            assert time.monotonic() < deadline

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))
    assert owner.execute("SELECT count(*) FROM activities").fetchone() == (1,)


def test_every_missing_setting_is_a_line_of_its_own() -> None:
    lines = fails(CONNECTION_URL="", FRONTEND_URL="", PORT="http")

    assert [line.split(";")[0] for line in lines] == [
        "cruddur: CONNECTION_URL is not set",
        "cruddur: FRONTEND_URL is not set",
        "cruddur: PORT is malformed",
    ]


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])

        (line,) = fails(PORT=port)

    assert line.startswith(
        f"cruddur: can't listen on 127.0.0.1:{port} (Address already in use): set PORT to a free one"
    )


def test_a_server_that_is_away_is_told() -> None:
    (line,) = fails()

    assert line.startswith("cruddur: CONNECTION_URL: ")
    assert "port 1 failed: Connection refused" in line


def test_a_database_that_is_not_there_is_told(owner_url: str) -> None:
    (line,) = fails(CONNECTION_URL=make_conninfo(owner_url, dbname="nowhere"))

    assert 'database "nowhere" does not exist' in line
    assert "bin/db-create" in line


def test_a_schema_that_was_never_loaded_is_told(owner_url: str) -> None:
    (line,) = fails(CONNECTION_URL=make_conninfo(owner_url, dbname="postgres"))

    assert line == "cruddur: the database has no schema: run bin/db-schema-load"


def test_a_schema_that_is_too_old_is_told_and_a_newer_one_is_taken(service_url: str, owner: psycopg.Connection) -> None:
    owner.execute("UPDATE alembic_version SET version_num = '0000'")
    (line,) = fails(CONNECTION_URL=service_url)
    assert line == "cruddur: the schema is older than 0001, which this version needs: run bin/db-migrate"

    owner.execute("UPDATE alembic_version SET version_num = '9999'")
    with serving(service_url) as port:
        assert get(port, "/api/activities/home") == (200, b"[]")


def test_a_time_zone_that_is_not_utc_is_told(owner_url: str, owner: psycopg.Connection) -> None:
    owner.execute(f"ALTER DATABASE {owner.info.dbname} SET timezone TO 'Europe/Rome'".encode())

    (line,) = fails(CONNECTION_URL=owner_url)

    assert line == "cruddur: the database's time zone is not UTC: run bin/db-create, which sets it"
    assert script("db-create", CONNECTION_URL=owner_url).returncode == 0
    with serving(owner_url) as port:
        assert get(port, "/api/activities/home") == (200, b"[]")
