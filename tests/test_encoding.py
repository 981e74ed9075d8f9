"""UTF-8 between client and database, with any encoding set by libpq's variables, a role or a database."""

from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app import create_app
from harness.ports import free_port
from lib.config import Config
from ops.command import ROOT
from tests import processes, tokens
from tests.conftest import FRONTEND, NEW
from tests.factories import Make
from tests.in_process import fails, script
from tests.processes import running
from tests.service import RIGHT, get
from tests.service import fails as serve_fails

TEXT = "café \N{ROCKET}"
# libpq's variables for sessions.
SESSION = {
    "PGCLIENTENCODING": "LATIN1",
    "PGOPTIONS": "-c client_encoding=LATIN1 -c timezone=Europe/Rome",
    "PGTZ": "Europe/Rome",
    "PGDATESTYLE": "German",
    "PGGEQO": "off",
}


@pytest.mark.slow
@pytest.mark.parametrize("told", [SESSION, *({name: value} for name, value in SESSION.items())])
def test_libpq_session_variables_are_ignored(
    service_url: str, owner_url: str, make: Make, told: dict[str, str]
) -> None:
    make.activity(make.user("lin"), TEXT)
    port = free_port()
    settings = {**RIGHT, "CONNECTION_URL": service_url, "PORT": port, **told}
    with running("serve", **settings):
        status, body = get(port, "/api/activities/home")
        assert (status, f'"message":"{TEXT}"'.encode() in body, b'+00:00"' in body) == (200, True, True)
        with closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as connection:
            connection.request("GET", "/api/activities/search?term=caf%C3%A9")
            assert TEXT.encode() in connection.getresponse().read()
    result = processes.script("db-seed", CONNECTION_URL=owner_url, **told)
    assert (result.returncode, result.stderr) == (0, "")


def by_role(owner: psycopg.Connection, url: str) -> str:
    """Set the role's client_encoding to LATIN1, and return the URL."""
    owner.execute("ALTER ROLE cruddur_service SET client_encoding TO 'LATIN1'")
    return url


def by_options(_: psycopg.Connection, url: str) -> str:
    """Return a URL whose session requests LATIN1."""
    return make_conninfo(url, options="-c client_encoding=LATIN1")


@pytest.mark.parametrize("way", [by_role, by_options])
def test_session_with_another_encoding_still_uses_utf_8(
    owner: psycopg.Connection, service_url: str, jwks_url: str, make: Make, way: Callable[..., str]
) -> None:
    make.activity(make.user("lin"), TEXT)
    try:
        app: Flask = create_app(
            Config(connection_url=way(owner, service_url), frontend_urls=(FRONTEND,), **tokens.pool(jwks_url))
        )
        assert TEXT.encode() in app.test_client().get("/api/activities/@lin").data
        app.extensions["database_pool"].close()
    finally:
        owner.execute("ALTER ROLE cruddur_service RESET client_encoding")


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def other(request: pytest.FixtureRequest, new_url: str, server_url: str) -> str:
    """Create a database with another encoding, and return that encoding."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        kind = f"ENCODING '{request.param}' LOCALE_PROVIDER libc LOCALE 'C'"
        name = conninfo_to_dict(new_url)["dbname"]
        connection.execute(f'CREATE DATABASE "{name}" {kind} TEMPLATE template0'.encode())
    return str(request.param)


@pytest.mark.parametrize("name", ["db-create", "db-schema-load", "serve", "dev"])
def test_database_with_another_encoding_is_refused_with_a_remedy(
    other: str, new_url: str, home: Path, name: str
) -> None:
    if name == "serve":
        (line,) = serve_fails(CONNECTION_URL=new_url)
    else:
        line = fails(name, CONNECTION_URL=new_url, CRUDDUR_DATA_DIR=str(home), PORT=free_port())

    assert line == (
        f"cruddur: the database {NEW} has the encoding {other}, and the service needs UTF8: name another in "
        "CONNECTION_URL, which bin/db-create makes; bin/db-backup and bin/db-restore make it with the rows of this one"
    )


@pytest.mark.usefixtures("server")
def test_backup_and_restore_convert_a_database_to_utf_8(
    other: str, new_url: str, server_url: str, tmp_path: Path
) -> None:
    restored = f"{NEW} restored"
    with psycopg.connect(
        new_url, autocommit=True, client_encoding="UTF8" if other == "LATIN1" else "SQL_ASCII"
    ) as before:
        before.execute((ROOT / "db" / "schema.sql").read_bytes())
        before.execute(
            "INSERT INTO users (handle, display_name, cognito_user_id) VALUES ('lin', 'café', 'sub')".encode()
        )
    try:
        for name, *arguments in (("db-backup", "b.dump"), ("db-restore", "b.dump", restored)):
            result = script(name, arguments[0].replace("b.", f"{tmp_path}/b."), *arguments[1:], CONNECTION_URL=new_url)
            assert (result.returncode, result.stderr) == (0, "")
        with psycopg.connect(make_conninfo(server_url, dbname=restored)) as after:
            assert after.execute("SELECT display_name FROM users").fetchone() == ("café",)
            assert after.info.parameter_status("server_encoding") == "UTF8"
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{restored}"'.encode())


@pytest.mark.parametrize(("name", "value"), [("PGSSLMODE", "require"), ("PGREQUIREAUTH", "gss"), ("PGSERVICE", "none")])
def test_libpq_variable_that_breaks_the_connection_is_named(owner_url: str, name: str, value: str) -> None:
    url = make_conninfo(owner_url, host="127.0.0.1", port="1") if name == "PGSSLMODE" else owner_url

    for line in (
        serve_fails(CONNECTION_URL=url, **{name: value})[0],
        fails("db-create", CONNECTION_URL=url, **{name: value}),
    ):
        assert line.startswith("cruddur: CONNECTION_URL: ")
        assert line.endswith(f"; libpq takes from the environment what the URL leaves open, here {name}")


def test_complete_url_blames_no_libpq_variable() -> None:
    url = "postgresql://a:b@127.0.0.1:1/c?sslmode=disable"

    (line,) = serve_fails(CONNECTION_URL=url, PGSSLMODE="require", PGPORT="2", PGHOST="nowhere")

    assert line.endswith("bin/db-create makes a database that is missing")
