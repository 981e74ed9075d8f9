"""One server a run, one fresh database a test, and `make` for what a test is not about."""

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pytest_postgresql import factories
from werkzeug.test import TestResponse

from app import create_app
from lib.config import Config
from ops import embedded
from ops.command import Database
from ops.create import ROLE, create
from ops.schema_load import schema_load

# Two run the tests at once, each in databases of its own.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
# A database that is not there before the test. The space wants quoting.
NEW = f"tests{WORKER} scripts"
FRONTEND = "http://localhost:3000"
# Of a role on a server that is there for tests alone.
SERVICE_PASSWORD = "cruddur"
THROWAWAY = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Where everything is to be tested, a test that is skipped has failed."""
    if os.environ.get("CI") and call.excinfo and call.excinfo.errisinstance(pytest.skip.Exception):
        call.excinfo = pytest.ExceptionInfo.from_exception(AssertionError(f"{item.name}: {call.excinfo.value}"))


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server: that of TEST_CONNECTION_URL, by a role that may do everything, else an embedded one."""
    given = os.environ.get("TEST_CONNECTION_URL")
    if given:
        yield given
        return
    with embedded.hold(tmp_path_factory.mktemp("server"), options=THROWAWAY) as url:
        yield url


@pytest.fixture(scope="session")
def server(server_url: str) -> SimpleNamespace:
    """The server as pytest-postgresql wants it told."""
    parts = conninfo_to_dict(server_url)
    service = make_conninfo("", user=ROLE, password=SERVICE_PASSWORD, dbname="postgres")
    create(Database("CONNECTION_URL", make_conninfo(server_url, dbname="postgres")), service_url=service)
    return SimpleNamespace(
        host=parts.get("host", "localhost"),
        port=parts.get("port", 5432),
        user=parts.get("user", "postgres"),
        password=parts.get("password"),
        options="",
        maintenance_dbname="postgres",
        template_dbname=None,
    )


def load_schema(**parts: Any) -> None:
    """Make the database that every test gets a copy of."""
    parts.pop("autocommit")
    schema_load(Database("CONNECTION_URL", make_conninfo("", **parts)))


postgresql_noproc = factories.postgresql_noproc(load=[load_schema], depends_on="server")
postgresql = factories.postgresql("postgresql_noproc")


@pytest.fixture
def owner(postgresql: psycopg.Connection) -> psycopg.Connection:
    """The owner's connection to the test's database, in autocommit."""
    postgresql.autocommit = True
    return postgresql


@pytest.fixture
def owner_url(owner: psycopg.Connection) -> str:
    """The owner's connection string."""
    parts = conninfo_to_dict(owner.info.dsn)
    kept = {name: parts[name] for name in ("host", "port", "user", "dbname") if name in parts}
    return make_conninfo("", **kept, password=owner.info.password or None)


@pytest.fixture
def service_url(owner_url: str) -> str:
    """The service's connection string."""
    return make_conninfo(owner_url, user=ROLE, password=SERVICE_PASSWORD)


@pytest.fixture
def app(service_url: str) -> Iterator[Flask]:
    """The application, as the service's role."""
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,)))
    yield app
    app.extensions["pool"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client without a browser."""
    return app.test_client()


def links(answer: TestResponse) -> dict[str, str]:
    """Where an answer's `Link` header leads, by relation."""
    found = re.findall(r'<([^>]*)>; rel="(\w+)"', answer.headers.get("Link", ""))
    return {relation: target for target, relation in found}


@pytest.fixture
def new_url(server_url: str) -> Iterator[str]:
    """The URL of a database that a script is to make, of the name `NEW`."""
    yield make_conninfo(server_url, dbname=NEW)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{NEW}" WITH (FORCE)'.encode())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder, in a path with a space in it."""
    return tmp_path / "a home"


@dataclass(frozen=True)
class User:
    """A person that a test has made."""

    uuid: UUID
    handle: str
    display_name: str
    cognito_user_id: str


@dataclass(frozen=True)
class Activity:
    """An activity that a test has made."""

    uuid: UUID
    message: str
    author: User


class Make:
    """Rows, made by the owner."""

    def __init__(self, owner: psycopg.Connection) -> None:
        self.owner = owner
        self.numbers = itertools.count(1)

    def user(self, handle: str | None = None, *, display_name: str = "Somebody", bio: str | None = None) -> User:
        """A person, of a handle that nobody has."""
        number = next(self.numbers)
        user = (handle or f"somebody{number}", display_name, f"sub-{number}")
        (uuid,) = self._row(
            "INSERT INTO users (handle, display_name, cognito_user_id, bio) VALUES (%s, %s, %s, %s) RETURNING uuid",
            *(*user, bio),
        )
        return User(uuid, *user)

    def activity(
        self,
        author: User,
        message: str = "hello",
        *,
        age: str = "0 s",
        ttl: str | None = "7 days",
        reply_to: Activity | None = None,
    ) -> Activity:
        """An activity, `age` old, that lives for `ttl`; without one it stays."""
        (uuid,) = self._row(
            """
            INSERT INTO activities (
                user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at
            )
            SELECT %s, %s, %s, %s, now() - age, now() - age + %s::interval FROM (VALUES (%s::interval)) AS given (age)
            RETURNING uuid
            """,
            author.uuid,
            message,
            reply_to and reply_to.uuid,
            reply_to and reply_to.author.uuid,
            ttl,
            age,
        )
        return Activity(uuid, message, author)

    def _row(self, statement: str, *parameters: object) -> tuple[Any, ...]:
        row = self.owner.execute(statement.encode(), parameters).fetchone()
        assert row is not None
        return row


@pytest.fixture
def make(owner: psycopg.Connection) -> Make:
    """What makes the rows that a test needs."""
    return Make(owner)
