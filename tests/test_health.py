"""Health checks: /api/health-check, /livez and /readyz."""

from collections.abc import Iterator
from multiprocessing.sharedctypes import RawValue

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg import Connection

from app import create_app
from lib import draining
from lib.checks import SCHEMA
from lib.config import Config
from tests.conftest import FRONTEND
from tests.tokens import pool


@pytest.fixture
def cut_off() -> Iterator[FlaskClient]:
    """Return a client of a service without a database."""
    app = create_app(Config(connection_url="postgresql://127.0.0.1:1/none", frontend_urls=(FRONTEND,), **pool()))
    yield app.test_client()
    app.extensions["database_pool"].close()


@pytest.fixture
def about_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start draining, as SIGTERM does."""
    monkeypatch.setattr(draining, "_draining", RawValue("b", 0))
    draining.drain()


@pytest.mark.parametrize(
    ("path", "body"), [("/api/health-check", {"success": True, "ver": 1}), ("/livez", {"success": True})]
)
def test_liveness_needs_no_database(cut_off: FlaskClient, path: str, body: object) -> None:
    response = cut_off.get(path)

    assert (response.status_code, response.json) == (200, body)


def test_ready_with_the_expected_or_a_newer_schema(client: FlaskClient, owner: Connection) -> None:
    for revision in (SCHEMA, "9999"):
        owner.execute("UPDATE alembic_version SET version_num = %s", [revision])
        response = client.get("/readyz")
        assert (response.status_code, response.json) == (200, {"success": True})


@pytest.mark.parametrize("statement", ["UPDATE alembic_version SET version_num = '0000'", "DROP TABLE alembic_version"])
def test_not_ready_with_an_older_schema(client: FlaskClient, owner: Connection, statement: str) -> None:
    owner.execute(statement.encode())

    response = client.get("/readyz")

    assert (response.status_code, response.json) == (503, ["schema_outdated"])
    assert int(response.headers["Retry-After"]) > 0
    assert client.get("/livez").status_code == 200


def test_not_ready_without_a_database(cut_off: FlaskClient) -> None:
    for _ in range(2):
        response = cut_off.get("/readyz")
        assert (response.status_code, response.json) == (503, ["database_away"])


@pytest.mark.usefixtures("about_to_stop")
def test_not_ready_while_draining(client: FlaskClient, cut_off: FlaskClient) -> None:
    responses = [each.get("/readyz") for each in (client, cut_off)]

    assert [response.status_code for response in responses] == [503, 503]
    assert [response.json for response in responses] == [["draining"], ["draining", "database_away"]]
    assert client.get("/api/activities/home").status_code == 200


def test_ready_again_after_a_migration(app: Flask, owner: Connection) -> None:
    client = app.test_client()
    owner.execute("UPDATE alembic_version SET version_num = '0000'")
    assert client.get("/readyz").status_code == 503
    owner.execute("UPDATE alembic_version SET version_num = %s", [SCHEMA])

    assert client.get("/readyz").status_code == 200
