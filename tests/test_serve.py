"""bin/serve: production's way to run, and what keeps it from starting."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lib.checks import KEY_SET_REMEDY, SCHEMA
from ops.command import ROOT
from serve import MIN_DESCRIPTORS, max_connections
from tests import tokens
from tests.conftest import FRONTEND
from tests.make import Make
from tests.running import SECONDS, STOP_SECONDS, eventually, free_port, running, script, started

RIGHT = {
    "CONNECTION_URL": "postgresql://127.0.0.1:1/cruddur",
    "FRONTEND_URL": FRONTEND,
    **tokens.SETTINGS,
    "DRAIN_SECONDS": "0",
    # A line for each request would fill the pipe that a test reads at its end.
    "ACCESS_LOG": "off",
}

# The first key of RFC 7517, appendix A.1.
ELLIPTIC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}


def get(port: str, path: str) -> tuple[int, bytes]:
    """Status and body of a GET, as soon as somebody listens."""
    deadline = time.monotonic() + SECONDS
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
    assert (server.returncode, out, faults(err)) == (0, "", [says] if says else [])


def faults(err: str) -> list[str]:
    """What a service has logged but for its requests: each first line."""
    told = [json.loads(line) for line in err.splitlines()]
    return [record["message"].partition("\n")[0] for record in told if record["level"] != "info"]


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
        # Each process has a pool of four, and the purge's.
        while owner.execute(sessions.encode()).fetchone() != (10,):
            assert time.monotonic() < deadline

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))
    assert owner.execute("SELECT count(*) FROM activities").fetchone() == (1,)


def test_every_missing_setting_is_a_line_of_its_own() -> None:
    lines = fails(CONNECTION_URL="", FRONTEND_URL="", AWS_COGNITO_USER_POOL_ID="", PORT="http")

    assert [line.partition(";")[0] for line in lines] == [
        "cruddur: CONNECTION_URL is not set",
        "cruddur: FRONTEND_URL is not set",
        "cruddur: AWS_COGNITO_USER_POOL_ID is not set",
        "cruddur: PORT is malformed: it is not made of the digits 0 to 9 alone",
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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no key set at {url}: FileNotFoundError"),
        ("", "there is no key set at {url}: JSONDecodeError"),
        ("[]", "there is no key set at {url}: TypeError"),
        ('{"keys": []}', "there is no RSA key at {url}"),
        (json.dumps({"keys": [ELLIPTIC]}), "there is no RSA key at {url}"),
    ],
    ids=["no file", "nothing", "no key set", "no key", "no RSA key"],
)
def test_a_key_set_that_is_not_in_its_file_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "a key set.json"
    if content is not None:
        file.write_text(content)

    (line,) = fails(AWS_COGNITO_JWKS_URL=file.as_uri())

    assert line == f"cruddur: AWS_COGNITO_JWKS_URL: {said.format(url=file.as_uri())}: {KEY_SET_REMEDY}"


def test_a_key_set_of_another_pool_is_told(tmp_path: Path) -> None:
    url = tokens.write_key_set(tmp_path / "eu-west-1_development.json")

    (line,) = fails(AWS_COGNITO_JWKS_URL=url)

    assert line == (
        f"cruddur: AWS_COGNITO_JWKS_URL: {url} is of the pool eu-west-1_development, "
        "and AWS_COGNITO_USER_POOL_ID is another"
    )


def test_with_a_key_set_in_a_file_it_goes_on(tmp_path: Path) -> None:
    (line,) = fails(AWS_COGNITO_JWKS_URL=tokens.write_key_set(tmp_path / "a key set.json"))

    assert line.startswith("cruddur: CONNECTION_URL: ")


@pytest.mark.parametrize(("files", "starts"), [(MIN_DESCRIPTORS - 1, False), (MIN_DESCRIPTORS, True)])
def test_a_limit_of_open_files_that_is_too_low_is_told(
    service_url: str,
    files: int,
    starts: bool,  # noqa: FBT001 - a case
) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port}
    limited = ("bash", "-c", f'ulimit -n {files}; exec "$0"', ROOT / "bin" / "serve")
    with started(limited, **settings) as server:
        if starts:
            assert get(port, "/livez")[0] == HTTPStatus.OK
            server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=STOP_SECONDS)

    assert server.returncode == int(not starts)
    told = f"cruddur: the limit of open files is {files}: raise it (ulimit -Hn) to {MIN_DESCRIPTORS} or more\n"
    assert err == ("" if starts else told)


@pytest.mark.parametrize(("files", "connections"), [(256, 128), (2047, 1023), (2048, 1024), (65_536, 1024)])
def test_half_of_the_open_files_are_for_connections(files: int, connections: int) -> None:
    assert max_connections(files) == connections


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
    assert line == f"cruddur: the schema is older than {SCHEMA}, which this version needs: run bin/db-migrate"

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


def test_more_processes_than_there_are_connections_for_are_told(service_url: str, owner: psycopg.Connection) -> None:
    limit = f"ALTER DATABASE {owner.info.dbname} CONNECTION LIMIT"
    # Two processes, each with a pool of four, one that asks whether the server is back, and the purge's.
    owner.execute(f"{limit} 11".encode())
    (line,) = fails(CONNECTION_URL=service_url, WEB_CONCURRENCY="2")
    assert line == (
        "cruddur: WEB_CONCURRENCY=2 wants 12 connections, and the server has 11 for us: lower it, or raise the "
        "server's max_connections or the role's and the database's CONNECTION LIMIT"
    )

    owner.execute(f"{limit} 12".encode())
    with serving(service_url, WEB_CONCURRENCY="2") as port:
        assert get(port, "/readyz")[0] == HTTPStatus.OK


def test_on_sigterm_it_sends_everybody_elsewhere_before_it_stops(service_url: str) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "DRAIN_SECONDS": "2"}
    with running("serve", **settings) as server, closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as kept:
        assert get(port, "/readyz")[0] == HTTPStatus.OK
        kept.request("GET", "/api/activities/home")
        assert kept.getresponse().read() == b"[]"
        server.send_signal(signal.SIGTERM)

        eventually(lambda: get(port, "/readyz") == (503, b'["draining"]'))
        kept.request("GET", "/api/activities/home")
        answer = kept.getresponse()
        assert (answer.status, answer.read(), answer.headers["Connection"]) == (200, b"[]", "close")
        assert get(port, "/livez")[0] == HTTPStatus.OK
        out, err = server.communicate(timeout=30)

    assert (server.returncode, out, faults(err)) == (0, "", [])


@pytest.mark.parametrize("hurry", [signal.SIGTERM, signal.SIGINT])
def test_told_twice_it_does_not_wait(service_url: str, hurry: signal.Signals) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "DRAIN_SECONDS": "10"}
    with running("serve", **settings) as server:
        assert get(port, "/readyz")[0] == HTTPStatus.OK
        server.send_signal(signal.SIGTERM)
        eventually(lambda: get(port, "/readyz")[0] == HTTPStatus.SERVICE_UNAVAILABLE)
        server.send_signal(hurry)
        # Far less than it would have drained for.
        assert server.wait(timeout=8) == 0
