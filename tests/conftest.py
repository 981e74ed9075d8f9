"""A server for the run, a fresh database for each test, and `make` for the rows that a test is not about."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Composed
from psycopg_pool import ConnectionPool
from pytest_postgresql import factories
from pytest_postgresql.janitor import DatabaseJanitor
from werkzeug.test import TestResponse

from app import create_app
from harness.collector import Collector, collecting
from harness.waiting import poll
from lib import cache, deadline
from lib import cognito as cognito_module
from lib.config import Config
from lib.exporters import providers
from ops import dev_keys, embedded
from ops.command import Database
from ops.create_database import ROLE, create
from ops.schema_load import schema_load
from tests import settings, tokens
from tests.aws import Aws, moto
from tests.clock import Clock
from tests.cognito import FakeCognito, fake_cognito
from tests.factories import Make, User, belongings, make_bystander
from tests.shared_rules import SharedRule
from tests.telemetry import Watched, flush, watched

# Two run the tests at once, each in databases of its own.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
# A database that does not exist before the test. The space needs quoting.
NEW = f"tests{WORKER} scripts"
FRONTEND = "http://localhost:3000"
SignIn = Callable[[User], FlaskClient]
# The password of a role on a server for tests alone.
SERVICE_PASSWORD = "cruddur"
# With a minimal WAL level, copying a database writes no WAL: that takes a third of the CPU time.
THROWAWAY = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0"
# A file system in memory, where Linux has one. A fresh database there takes half the time. A run needs 0.5 GiB.
SHARED_MEMORY = Path("/dev", "shm")
ENOUGH_MEMORY = 2 << 30
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
# .ci/compose runs these, once and with an engine.
collect_ignore = ["test_engine.py"] if os.environ.get("CI") and not os.environ.get("TEST_DOCKER_HOST") else []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the number of requests that tests/test_fuzz.py generates for each operation."""
    parser.addoption("--fuzz", type=int, default=5, metavar="N")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module of slow tests alone where these are deselected: that takes a third of the collection."""
    skips_slow = config.option.markexpr == "not slow" and collection_path.suffix == ".py"
    return True if skips_slow and "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() else None


def pytest_configure() -> None:
    """Have the programs that tests start heed Ctrl-C, also where a shell runs the tests in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Fail a skipped test where CI is set."""
    if os.environ.get("CI") and call.excinfo and call.excinfo.errisinstance(pytest.skip.Exception):
        call.excinfo = pytest.ExceptionInfo.from_exception(AssertionError(f"{item.name}: {call.excinfo.value}"))


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_developers() -> Iterator[None]:
    """Keep the developer's own settings out of each `Config`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in settings.NAMES:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def cheap_databases_and_applications() -> Iterator[None]:
    """Copy a test's database file by file, in half the time, and compile the applications' URL rules once."""
    create_statement = DatabaseJanitor._build_create_database_sql  # noqa: SLF001 - there is no option

    def copy_files(janitor: DatabaseJanitor) -> Composed:
        statement = create_statement(janitor)
        return statement + SQL(" STRATEGY FILE_COPY") if janitor.template_dbname else statement

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseJanitor, "_build_create_database_sql", copy_files)
        patch.setattr(Flask, "url_rule_class", SharedRule)
        yield


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the server's URL: TEST_CONNECTION_URL, with a superuser, else the URL of an embedded server."""
    given = os.environ.get("TEST_CONNECTION_URL")
    if given:
        yield given
        return
    if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free >= ENOUGH_MEMORY:
        with TemporaryDirectory(dir=SHARED_MEMORY, prefix="cruddur-tests-") as folder:
            yield from running_server(Path(folder))
    else:
        yield from running_server(tmp_path_factory.mktemp("server"))


def running_server(folder: Path) -> Iterator[str]:
    """Yield the URL of an embedded server with its data in `folder`."""
    with embedded.running_server(folder, options=THROWAWAY) as url:
        yield url


@pytest.fixture(scope="session")
def server(server_url: str) -> SimpleNamespace:
    """Return the server's parameters for pytest-postgresql. The server has the service's role."""
    parts = conninfo_to_dict(server_url)
    service = make_conninfo("", user=ROLE, password=SERVICE_PASSWORD, dbname="postgres")
    create(Database("CONNECTION_URL", make_conninfo(server_url, dbname="postgres")), service_url=service)
    with psycopg.connect(server_url, autocommit=True) as connection:
        # The service's database is another.
        connection.execute(f"REVOKE CONNECT ON DATABASE postgres FROM {ROLE}".encode())
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
    """Load the schema into the template, of which each test gets a copy."""
    parts.pop("autocommit")
    schema_load(Database("CONNECTION_URL", make_conninfo("", **parts)))


postgresql_noproc = factories.postgresql_noproc(load=[load_schema], depends_on="server")
postgresql = factories.postgresql("postgresql_noproc")


@pytest.fixture(scope="session")
def maintenance(server: SimpleNamespace, server_url: str) -> Iterator[psycopg.Connection]:
    """Connect to another database of the server, in autocommit."""
    with psycopg.connect(make_conninfo(server_url, dbname=server.maintenance_dbname), autocommit=True) as connection:
        yield connection


@pytest.fixture
def owner(postgresql: psycopg.Connection, maintenance: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Yield the owner's connection to the test's database, in autocommit. Afterwards end all sessions there."""
    postgresql.autocommit = True
    database = [postgresql.info.dbname]
    yield postgresql
    postgresql.close()
    # DROP DATABASE sleeps for 0.1 s where a session has not ended yet.
    poll(lambda: not maintenance.execute(END_SESSIONS, database).rowcount, pause=0.002)


@pytest.fixture
def owner_url(owner: psycopg.Connection) -> str:
    """Return the owner's connection string."""
    parts = conninfo_to_dict(owner.info.dsn)
    kept = {name: parts[name] for name in ("host", "port", "user", "dbname") if name in parts}
    return make_conninfo("", **kept, password=owner.info.password or None)


@pytest.fixture
def service_url(owner_url: str) -> str:
    """Return the service's connection string."""
    return make_conninfo(owner_url, user=ROLE, password=SERVICE_PASSWORD)


@pytest.fixture(scope="session")
def jwks_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of the pool's key set, in a file."""
    return tokens.write_key_set(tmp_path_factory.mktemp("keys") / "jwks.json")


@pytest.fixture
def pool(jwks_url: str) -> dict[str, str]:
    """Return the settings of that pool, for programs."""
    return tokens.SETTINGS | {"AWS_COGNITO_JWKS_URL": jwks_url}


@pytest.fixture
def growing_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the application's pool open its further connections on demand: most tests use a single one of four."""

    def growing(*arguments: Any, min_size: int, **options: Any) -> ConnectionPool[Any]:
        return ConnectionPool(*arguments, min_size=1, max_size=min_size, **options)

    monkeypatch.setattr("lib.pool.ConnectionPool", growing)


@pytest.fixture
def app(service_url: str, jwks_url: str, growing_pool: None) -> Iterator[Flask]:  # noqa: ARG001
    """Yield the application, with the service's role. Its Cognito has keys and no users."""
    limits: dict[str, Any] = settings.UNLIMITED
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **limits, **tokens.pool(jwks_url)))
    yield app
    app.extensions["database_pool"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a client that sends no token."""
    return app.test_client()


@pytest.fixture
def slow_cognito(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each call to Cognito take longer than a request may wait for the database, by the clock of that limit."""
    clock, call = Clock(), cognito_module.call

    def slow(*args: Any, **options: Any) -> Any:
        clock.now += 3
        return call(*args, **options)

    monkeypatch.setattr(deadline, "time", clock)
    monkeypatch.setattr(cognito_module, "call", slow)


@pytest.fixture
def cache_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock that measures the age of cached pages."""
    clock = Clock()
    monkeypatch.setattr(cache, "time", clock)
    return clock


@pytest.fixture
def cognito() -> Iterator[FakeCognito]:
    """Run a fake Cognito on this machine."""
    with fake_cognito() as cognito:
        yield cognito


@pytest.fixture
def sign_in(app: Flask) -> SignIn:
    """Return a function that makes an authenticated client of a user."""

    def client(user: User) -> FlaskClient:
        theirs = app.test_client()
        theirs.environ_base["HTTP_AUTHORIZATION"] = tokens.bearer(user.cognito_user_id)["Authorization"]
        return theirs

    return client


def links(answer: TestResponse) -> dict[str, str]:
    """Where an answer's `Link` header leads from the path that was asked, by relation."""
    found = re.findall(r'<([^>]*)>; rel="(\w+)"', answer.headers.get("Link", ""))
    return {relation: urljoin(answer.request.path, target) for target, relation in found}


def rows_of(page: TestResponse) -> list[dict[str, Any]]:
    """Return the rows of a page, of a profile its activities."""
    assert page.status_code == HTTPStatus.OK
    return list(page.json["activities"] if isinstance(page.json, dict) else page.json)


def walk(client: FlaskClient, first: TestResponse, relation: str) -> list[dict[str, Any]]:
    """Return the rows of the page `first` and of all that follow it by `relation`, in the order of the walk."""
    page, rows = first, rows_of(first)
    while relation in links(page):
        page = client.get(links(page)[relation])
        rows += rows_of(page) if relation == "next" else reversed(rows_of(page))
    return rows


@pytest.fixture
def new_url(server_url: str) -> Iterator[str]:
    """Yield the URL of a database that a script is to create, with the name `NEW`."""
    yield make_conninfo(server_url, dbname=NEW)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{NEW}" WITH (FORCE)'.encode())


@pytest.fixture
def empty_url(owner: psycopg.Connection, owner_url: str) -> Iterator[str]:
    """Create a database without a schema, and yield its URL."""
    name = f"{owner.info.dbname}_empty"
    owner.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
    yield make_conninfo(owner_url, dbname=name)
    owner.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a data folder, in a path with a space in it."""
    return tmp_path / "a home"


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use that folder in this process too, and no user pool but its development pool."""
    monkeypatch.setenv("CRUDDUR_DATA_DIR", str(home))
    for name in dev_keys.POOL_SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make(owner: psycopg.Connection) -> Make:
    """Return the factory of the rows that a test needs."""
    return Make(owner)


@pytest.fixture
def bystander(make: Make) -> Iterator[User]:
    """Yield a user with one row of each kind. A test that changes any of these rows fails at its end."""
    untouched = make_bystander(make)
    before = belongings(make.owner, untouched)
    assert {table for table, _ in before} == {
        *("users", "activities", "likes", "reposts", "follows", "follow_counts", "mentionings", "read_markers"),
        *("mutes", "blocks"),
        *("taggings", "reports", "message_groups", "messages", "last_messages"),
        "idempotency_keys",
    }
    yield untouched
    assert belongings(make.owner, untouched) == before


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """AWS on this machine, one for all tests of a run."""
    with moto(tmp_path_factory.mktemp("aws")) as aws:
        yield aws


@pytest.fixture
def aws(aws_server: Aws) -> Aws:
    """AWS, with nothing in it but what each account has."""
    aws_server.reset()
    return aws_server


@pytest.fixture(scope="session")
def process_collector() -> Iterator[Collector]:
    """Yield a collector for the providers of this process: OpenTelemetry has one set for its lifetime."""
    with collecting() as collector:
        yield collector
        for provider in providers():
            if isinstance(provider, TracerProvider | MeterProvider):
                provider.shutdown()


@pytest.fixture
def collector(process_collector: Collector) -> Collector:
    """Return the collector, emptied."""
    flush()
    process_collector.clear()
    return process_collector


@pytest.fixture
def service(service_url: str, jwks_url: str, collector: Collector) -> Iterator[Watched]:
    """Return the running service."""
    app = watched(service_url, jwks_url, collector)
    yield Watched(app, collector)
    app.extensions["database_pool"].close()
