"""Statements that a pooler loses, without a pooler: 503, one line in the log, and new connections."""

import logging
from collections.abc import Iterator

import psycopg
import pytest
from flask import Flask
from psycopg.rows import TupleRow

from app import create_app
from lib.checks import check_database
from lib.command_errors import ConfigError
from lib.deadline import Deadline
from lib.pool import THREADS, Connection
from tests.conftest import SignIn
from tests.factories import Make
from tests.pooler import LOST_STATEMENT, PREPARED, config

PID = "SELECT pg_backend_pid()"
# As in another session. psycopg would notice a bare DEALLOCATE, and prepare its statements again.
WITHOUT_STATEMENTS = "DO 'BEGIN EXECUTE ''DEALLOCATE ALL''; END'"
OTHER_SESSIONS = [("26000", WITHOUT_STATEMENTS), ("42P05", "PREPARE _pg3_{} AS SELECT 1")]


@pytest.fixture
def unprepared(service_url: str, jwks_url: str, growing_pool: None) -> Iterator[Flask]:  # noqa: ARG001
    """Create the application with DATABASE_PREPARE=off."""
    app = create_app(config(service_url, jwks_url, database_prepare="off"))
    yield app
    app.extensions["database_pool"].close()


def open_all_connections(app: Flask) -> None:
    """Open all connections of the application's pool. Consecutive requests then take one after the other."""
    connections = app.extensions["database_pool"].pool
    held = [connections.getconn() for _ in range(THREADS)]
    for connection in held:
        connections.putconn(connection)


def on_pooled_connections(app: Flask, *statements: str) -> list[TupleRow]:
    """Run statements on each of the application's connections. Return the first rows of the last statement."""
    connections = app.extensions["database_pool"].pool
    rows = []
    held: list[Connection] = [connections.getconn() for _ in range(connections.get_stats()["pool_size"])]
    for connection in held:
        for statement in statements:
            # The number of the statement that the connection prepares next.
            text = statement.format(connection._prepared._prepared_idx)  # noqa: SLF001 - as psycopg
            cursor = connection.execute(text.encode(), prepare=False)
        if cursor.description:
            rows += cursor.fetchall()
        connections.putconn(connection)
    return rows


@pytest.mark.parametrize(("sqlstate", "statement"), OTHER_SESSIONS)
def test_lost_statement_is_503_and_drains_the_pool(
    sqlstate: str, statement: str, app: Flask, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    user, client = make.user(), app.test_client()
    path, other = f"/api/users/@{user.handle}/short", f"/api/activities/@{user.handle}?limit=1"
    open_all_connections(app)
    assert [client.get(path).status_code for _ in range(THREADS)] == [200] * THREADS
    before = on_pooled_connections(app, PID)

    on_pooled_connections(app, statement)
    # The first is prepared by the client, and the second is not yet.
    response = client.get(path if sqlstate == "26000" else other)

    assert (response.status_code, response.json) == (503, ["service_unavailable"])
    assert int(response.headers["Retry-After"]) > 0
    assert [record.getMessage() for record in caplog.records] == [LOST_STATEMENT.format(sqlstate)]
    assert [client.get(each).status_code for each in (path, other)] == [200, 200]
    assert set(on_pooled_connections(app, PID)).isdisjoint(before)


def test_lost_statements_are_reported_once_a_minute(
    app: Flask, make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, client = f"/api/users/@{make.user().handle}/short", app.test_client()
    open_all_connections(app)

    def lines_after_a_loss() -> int:
        """Return the number of lines after a further lost statement."""
        # One for each connection that the pool may have.
        assert {client.get(path).status_code for _ in range(THREADS)} == {200}
        on_pooled_connections(app, WITHOUT_STATEMENTS)
        assert 503 in [client.get(path).status_code for _ in range(THREADS)]
        return len(caplog.records)

    assert [lines_after_a_loss() for _ in range(3)] == [1, 1, 1]
    monkeypatch.setattr("lib.pool.REPORT_SECONDS", 0)
    assert lines_after_a_loss() == 2


@pytest.mark.usefixtures("bystander")
def test_lost_statement_of_a_write_writes_nothing(app: Flask, sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())

    def post(message: str) -> int:
        """Post an activity, and return the status."""
        return client.post("/api/activities", json={"message": message, "ttl": "1-day"}).status_code

    open_all_connections(app)
    assert [post("before") for _ in range(THREADS)] == [200] * THREADS

    on_pooled_connections(app, WITHOUT_STATEMENTS)

    assert [post("lost"), post("after")] == [503, 200]
    assert sorted(make.messages()) == ["after", *["before"] * THREADS]


def test_prepare_off_prepares_nothing(app: Flask, unprepared: Flask, make: Make) -> None:
    path = f"/api/activities/@{make.user().handle}?limit=1"

    def prepared(service: Flask) -> int:
        """Return the number of statements that ten equal requests have prepared, on all connections."""
        assert [service.test_client().get(path).status_code for _ in range(10)] == [200] * 10
        return sum(count for (count,) in on_pooled_connections(service, PREPARED))

    assert prepared(app) > 0
    assert prepared(unprepared) == 0


def test_each_connection_has_names_of_its_own(app: Flask, make: Make) -> None:
    user = make.user()
    open_all_connections(app)

    for path in (f"/api/users/@{user.handle}/short", f"/api/activities/@{user.handle}?limit=1"):
        assert {app.test_client().get(path).status_code for _ in range(THREADS)} == {200}

    names = [name for (name,) in on_pooled_connections(app, "SELECT name FROM pg_prepared_statements")]
    assert len(names) == len(set(names)) == 2 * THREADS
    assert all(name.startswith("_pg3_") for name in names)


def test_pooler_s_second_error_is_a_lost_connection(app: Flask) -> None:
    database_pool = app.extensions["database_pool"]

    with (
        pytest.raises(psycopg.OperationalError, match=r"^the connection was lost$"),
        database_pool.connection(Deadline(2)) as connection,
    ):
        # psycopg raises this when COMMIT has two results: the server's error and the pooler's.
        raise psycopg.InternalError("expected 1 results from COMMIT, got 2")

    assert connection.closed
    assert set(on_pooled_connections(app, "SELECT 1")) == {(1,)}


def test_internal_error_of_the_server_keeps_its_connection(app: Flask) -> None:
    with (
        pytest.raises(psycopg.errors.DataCorrupted),
        app.extensions["database_pool"].connection(Deadline(2)) as connection,
    ):
        raise psycopg.errors.DataCorrupted

    assert not connection.closed


@pytest.mark.parametrize("limit", [11, 12])
def test_connections_are_counted_only_without_a_pooler(
    limit: int, service_url: str, owner: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    owner.execute(f"ALTER DATABASE {owner.info.dbname} CONNECTION LIMIT {limit}".encode())
    caplog.set_level(logging.WARNING)

    check_database(config(service_url, database_prepare="off"))
    if limit < 12:
        with pytest.raises(ConfigError, match="wants 12 connections, and the server has 11"):
            check_database(config(service_url))
    else:
        check_database(config(service_url))

    assert caplog.records == []
