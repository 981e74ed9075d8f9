"""The service through the real PgBouncer, with docs/pgbouncer.ini."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http import HTTPStatus

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from app import create_app
from harness.load import Answers, Client
from harness.pgbouncer import MISSING, PROGRAM, Pooler, pgbouncer
from harness.waiting import wait_until
from lib.checks import check_database
from lib.command_errors import CommandError, ConfigError
from lib.pool import REMEDY, THREADS
from tests.factories import Make
from tests.pooler import KEEPS_STATEMENTS, LOSES_STATEMENTS, LOST_STATEMENT, PREPARED, SESSIONS, TURNS, config
from tests.service import process_fails, serving
from tests.tokens import bearer, token

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]

CLIENTS, REQUESTS = 4, 40


@pytest.fixture
def pooler(service_url: str) -> Iterator[Pooler]:
    """Run PgBouncer with fewer server connections than the service has."""
    with pgbouncer(service_url, **TURNS, **LOSES_STATEMENTS) as pooler:
        yield pooler


def prepared(pooler: Pooler) -> int:
    """Return the number of prepared statements in all of the pooler's sessions, which exist from then on."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(psycopg.connect(pooler.url, prepare_threshold=None)) for _ in range(SESSIONS)
        ]
        # Open transactions, each in a session of its own.
        return sum(count for each in connections for (count,) in each.execute(PREPARED))


@pytest.mark.usefixtures("bystander")
def test_service_reads_and_writes_by_way_of_the_pooler(pooler: Pooler, pool: dict[str, str], make: Make) -> None:
    users = [make.user() for _ in range(CLIENTS)]
    numbers = iter(range(CLIENTS * REQUESTS))

    def ask(port: str) -> Answers:
        """Return the answers to one client, which reads and writes by turns."""
        answers = Answers()
        with Client(f"http://127.0.0.1:{port}") as client:
            for number in [next(numbers) for _ in range(REQUESTS)]:
                user = users[number % CLIENTS]
                body = {"message": f"{number}", "ttl": "1-day"}
                answers.append(client.get(f"/api/activities/@{user.handle}"))
                answers.append(client.post("/api/activities", token(user.cognito_user_id), body, f"key-{number}"))
        return answers

    with (
        serving(pooler.url, DATABASE_PREPARE="off", RATE_LIMIT_USER_WRITES="999", **pool) as port,
        ThreadPoolExecutor(CLIENTS) as threads,
    ):
        answers = [answer for part in threads.map(ask, [port] * CLIENTS) for answer in part]

    assert [answer for answer in answers if not answer.is_ok] == []
    assert len(make.messages()) == CLIENTS * REQUESTS
    assert prepared(pooler) == 0


@pytest.mark.parametrize(
    ("sqlstate", "changed"),
    [
        ("42P05", {"default_pool_size": "1"}),
        ("42P05", {}),
        ("26000", TURNS),
        ("26000", {"default_pool_size": "12\nserver_round_robin = 1"}),
    ],
)
def test_pooler_that_loses_statements_is_refused_at_start(
    sqlstate: str, changed: dict[str, str], service_url: str
) -> None:
    line = f"CONNECTION_URL: a pooler loses prepared statements (SQLSTATE {sqlstate}): {REMEDY}"
    with pgbouncer(service_url, **changed, **LOSES_STATEMENTS) as pooler:
        if sqlstate == "26000":
            # The pooler has several sessions then, and takes turns.
            assert prepared(pooler) == 0

        with pytest.raises(ConfigError, match=re.escape(line)):
            check_database(config(pooler.url))

        check_database(config(pooler.url, database_prepare="off"))
        assert process_fails(CONNECTION_URL=pooler.url)[0].startswith(
            "cruddur: CONNECTION_URL: a pooler loses prepared"
        )


def test_pooler_that_keeps_statements_is_accepted(service_url: str) -> None:
    if not KEEPS_STATEMENTS:
        # For 1.18 this line of the ini must stay a comment.
        with pytest.raises(CommandError, match="unknown parameter: pgbouncer/max_prepared_statements"):
            pgbouncer(service_url, max_prepared_statements="200").__enter__()
        return
    with pgbouncer(service_url, **TURNS, max_prepared_statements="200") as pooler:
        check_database(config(pooler.url))
        with psycopg.connect(pooler.url, autocommit=True, prepare_threshold=0) as connection:
            for _ in range(2 * SESSIONS):
                assert connection.execute("SELECT 1").fetchone() == (1,)
                # After a rollback psycopg deallocates all of its statements. 1.21 would lose count.
                with connection.transaction(force_rollback=True):
                    connection.execute("SELECT 2")


def test_role_s_limits_hold_and_its_connections_are_not_counted(
    pooler: Pooler, owner: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    # Two processes have 12 connections to the pooler.
    owner.execute(f"ALTER DATABASE {owner.info.dbname} CONNECTION LIMIT 4".encode())

    check_database(config(pooler.url, database_prepare="off"))

    assert caplog.records == []
    with psycopg.connect(pooler.url, prepare_threshold=None) as connection:
        assert connection.info.parameter_status("TimeZone") == "UTC"
        for name, value in [("statement_timeout", "1800ms"), ("lock_timeout", "1s")]:
            assert connection.execute(f"SHOW {name}".encode()).fetchone() == (value,)
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(3)")


@pytest.mark.parametrize("database_prepare", ["on", "off"])
def test_pooler_is_told_by_the_id_of_its_session(service_url: str, owner: Connection, database_prepare: str) -> None:
    owner.execute(f"ALTER DATABASE {owner.info.dbname} CONNECTION LIMIT 4".encode())
    # In this mode each client has a session of its own, and PgBouncer of any version keeps its statements.
    with pgbouncer(service_url, pool_mode="session") as pooler:
        check_database(config(pooler.url, database_prepare=database_prepare))


def test_lost_statement_at_run_time_is_503(
    service_url: str, jwks_url: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/api/users/@{make.user().handle}/short"
    # Each transaction of a connection is in another of the three sessions.
    with pgbouncer(
        service_url, default_pool_size=f"{THREADS - 1}\nserver_round_robin = 1", **LOSES_STATEMENTS
    ) as pooler:
        with ExitStack() as stack:
            for _ in range(THREADS - 1):
                stack.enter_context(psycopg.connect(pooler.url)).execute("SELECT 1")
        app = create_app(config(pooler.url, jwks_url))
        app.extensions["database_pool"].pool.wait(30)

        responses = [app.test_client().get(path) for _ in range(4 * THREADS)]

        app.extensions["database_pool"].close()
    # A statement is prepared in a transaction of its own, so that its first execution is in another session already.
    assert {(response.status_code, response.data, response.headers["Retry-After"]) for response in responses} == {
        (HTTPStatus.SERVICE_UNAVAILABLE, b'["service_unavailable"]', "2")
    }
    assert [record.getMessage() for record in caplog.records if record.name == "cruddur"] == [
        LOST_STATEMENT.format("26000")
    ]


SLOW_COMMIT = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON activities DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION slow()
"""
END_COMMIT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'"


@pytest.mark.usefixtures("bystander")
def test_session_lost_at_commit_is_a_lost_connection(
    pooler: Pooler, jwks_url: str, make: Make, owner: Connection
) -> None:
    user = make.user()
    owner.execute(SLOW_COMMIT)
    app = create_app(config(pooler.url, jwks_url, database_prepare="off", database_timeout=10))
    ended = threading.Thread(target=wait_until, args=[lambda: owner.execute(END_COMMIT).rowcount])
    ended.start()

    response = app.test_client().post(
        "/api/activities",
        json={"message": "hello", "ttl": "1-day"},
        headers={**bearer(user.cognito_user_id), "Idempotency-Key": "key"},
    )

    ended.join()
    app.extensions["database_pool"].close()
    # PgBouncer adds its own error to that of the server. The key makes the second attempt safe.
    assert (response.status_code, make.messages()) == (HTTPStatus.OK, ["hello"])


def test_full_pooler_is_no_server_error(service_url: str, jwks_url: str, make: Make) -> None:
    path = f"/api/users/@{make.user().handle}/short"
    with pgbouncer(service_url, **LOSES_STATEMENTS, max_client_conn="2") as pooler:
        with (
            pytest.raises(ConfigError, match="no more connections allowed"),
            psycopg.connect(make_conninfo(pooler.url)),
            psycopg.connect(pooler.url),
        ):
            check_database(config(pooler.url, database_prepare="off"))
        app = create_app(config(pooler.url, jwks_url, database_prepare="off"))
        statuses = [app.test_client().get(path).status_code for _ in range(20)]
        app.extensions["database_pool"].close()

    assert set(statuses) <= {HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE}
    assert HTTPStatus.OK in statuses
