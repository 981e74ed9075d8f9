"""bin/serve: the production server, the checks at its start, and its graceful shutdown."""

import json
import signal
import socket
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.ports import free_port
from harness.stubs import silent
from harness.waiting import wait_until
from lib.checks import KEY_SET_REMEDY, SCHEMA
from ops.command import ROOT
from serve import MIN_DESCRIPTORS, max_connections
from tests import tokens
from tests.factories import Make
from tests.processes import STOP_SECONDS, running, script, started
from tests.service import RIGHT, fails, faults, get, process_fails, serving

# The first key of RFC 7517, appendix A.1.
ELLIPTIC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}


def test_serve_runs_several_processes_until_sigterm(service_url: str, owner: psycopg.Connection, make: Make) -> None:
    make.activity(make.user("LinYue"), "served")

    with serving(service_url, WEB_CONCURRENCY="2") as port:
        status, body = get(port, "/api/activities/home")
        assert (status, b'"message":"served"' in body) == (200, True)
        sessions = """
            SELECT count(*) FROM pg_stat_activity WHERE usename = 'cruddur_service' AND datname = current_database()
        """
        # Each process has a pool of four connections, and one for the purge.
        wait_until(lambda: owner.execute(sessions.encode()).fetchone() == (10,), "the number of sessions", 10)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))
    assert owner.execute("SELECT count(*) FROM activities").fetchone() == (1,)


@pytest.mark.slow
def test_every_invalid_setting_has_a_line() -> None:
    lines = process_fails(CONNECTION_URL="", FRONTEND_URL="", AWS_COGNITO_USER_POOL_ID="", PORT="http")

    assert [line.partition(";")[0] for line in lines] == [
        "cruddur: CONNECTION_URL is not set",
        "cruddur: FRONTEND_URL is not set",
        "cruddur: AWS_COGNITO_USER_POOL_ID is not set",
        "cruddur: PORT is malformed: it is not made of the digits 0 to 9 alone",
    ]


def test_port_in_use_is_reported() -> None:
    with silent() as server:
        port = server.url.rpartition(":")[2]

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
def test_missing_or_invalid_key_set_file_is_reported(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "a key set.json"
    if content is not None:
        file.write_text(content)

    (line,) = fails(AWS_COGNITO_JWKS_URL=file.as_uri())

    assert line == f"cruddur: AWS_COGNITO_JWKS_URL: {said.format(url=file.as_uri())}: {KEY_SET_REMEDY}"


def test_key_set_of_another_pool_is_reported(tmp_path: Path) -> None:
    url = tokens.write_key_set(tmp_path / "eu-west-1_development.json")

    (line,) = fails(AWS_COGNITO_JWKS_URL=url)

    assert line == (
        f"cruddur: AWS_COGNITO_JWKS_URL: {url} is of the pool eu-west-1_development, "
        "and AWS_COGNITO_USER_POOL_ID is another"
    )


def test_valid_key_set_file_passes_the_check(tmp_path: Path) -> None:
    (line,) = fails(AWS_COGNITO_JWKS_URL=tokens.write_key_set(tmp_path / "a key set.json"))

    assert line.startswith("cruddur: CONNECTION_URL: ")


@pytest.mark.slow
@pytest.mark.parametrize(("files", "starts"), [(MIN_DESCRIPTORS - 1, False), (MIN_DESCRIPTORS, True)])
def test_limit_of_open_files_has_a_minimum(
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
    error = f"cruddur: the limit of open files is {files}: raise it (ulimit -Hn) to {MIN_DESCRIPTORS} or more\n"
    assert err == ("" if starts else error)


@pytest.mark.parametrize(("files", "connections"), [(256, 128), (2047, 1023), (2048, 1024), (65_536, 1024)])
def test_half_of_the_open_files_are_for_connections(files: int, connections: int) -> None:
    assert max_connections(files) == connections


def test_unreachable_server_is_reported() -> None:
    (line,) = fails()

    assert line.startswith("cruddur: CONNECTION_URL: ")
    assert "port 1 failed: Connection refused" in line


def test_missing_database_is_reported(owner_url: str) -> None:
    (line,) = fails(CONNECTION_URL=make_conninfo(owner_url, dbname="nowhere"))

    assert 'database "nowhere" does not exist' in line
    assert "bin/db-create" in line


def test_missing_schema_is_reported(owner_url: str) -> None:
    (line,) = fails(CONNECTION_URL=make_conninfo(owner_url, dbname="postgres"))

    assert line == "cruddur: the database has no schema: run bin/db-schema-load"


@pytest.mark.slow
def test_older_schema_is_refused_and_a_newer_one_accepted(service_url: str, owner: psycopg.Connection) -> None:
    owner.execute("UPDATE alembic_version SET version_num = '0000'")
    (line,) = fails(CONNECTION_URL=service_url)
    assert line == f"cruddur: the schema is older than {SCHEMA}, which this version needs: run bin/db-migrate"

    owner.execute("UPDATE alembic_version SET version_num = '9999'")
    with serving(service_url) as port:
        assert get(port, "/api/activities/home") == (200, b"[]")


@pytest.mark.slow
def test_time_zone_other_than_utc_is_refused(owner_url: str, owner: psycopg.Connection) -> None:
    owner.execute(f"ALTER DATABASE {owner.info.dbname} SET timezone TO 'Europe/Rome'".encode())

    (line,) = fails(CONNECTION_URL=owner_url)

    assert line == "cruddur: the database's time zone is not UTC: run bin/db-create, which sets it"
    assert script("db-create", CONNECTION_URL=owner_url).returncode == 0
    with serving(owner_url) as port:
        assert get(port, "/api/activities/home") == (200, b"[]")


@pytest.mark.slow
def test_processes_must_fit_the_connection_limit(service_url: str, owner: psycopg.Connection) -> None:
    limit = f"ALTER DATABASE {owner.info.dbname} CONNECTION LIMIT"
    # Two processes, each with a pool of four connections, one for the probe, and one for the purge.
    owner.execute(f"{limit} 11".encode())
    (line,) = fails(CONNECTION_URL=service_url, WEB_CONCURRENCY="2")
    assert line == (
        "cruddur: WEB_CONCURRENCY=2 wants 12 connections, and the server has 11 for us: lower it, or raise the "
        "server's max_connections or the role's and the database's CONNECTION LIMIT"
    )

    owner.execute(f"{limit} 12".encode())
    with serving(service_url, WEB_CONCURRENCY="2") as port:
        assert get(port, "/readyz")[0] == HTTPStatus.OK


@pytest.mark.slow
def test_sigterm_drains_before_the_server_stops(service_url: str) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "DRAIN_SECONDS": "2"}
    with (
        running("serve", **settings) as server,
        closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as keep_alive,
    ):
        assert get(port, "/readyz")[0] == HTTPStatus.OK
        keep_alive.request("GET", "/api/activities/home")
        assert keep_alive.getresponse().read() == b"[]"
        server.send_signal(signal.SIGTERM)

        wait_until(lambda: get(port, "/readyz") == (503, b'["draining"]'))
        keep_alive.request("GET", "/api/activities/home")
        response = keep_alive.getresponse()
        assert (response.status, response.read(), response.headers["Connection"]) == (200, b"[]", "close")
        assert get(port, "/livez")[0] == HTTPStatus.OK
        out, err = server.communicate(timeout=30)

    assert (server.returncode, out, faults(err)) == (0, "", [])


@pytest.mark.slow
@pytest.mark.parametrize("hurry", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_the_drain(service_url: str, hurry: signal.Signals) -> None:
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, "DRAIN_SECONDS": "10"}
    with running("serve", **settings) as server:
        assert get(port, "/readyz")[0] == HTTPStatus.OK
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: get(port, "/readyz")[0] == HTTPStatus.SERVICE_UNAVAILABLE)
        server.send_signal(hurry)
        # The limit is far below DRAIN_SECONDS.
        assert server.wait(timeout=8) == 0
