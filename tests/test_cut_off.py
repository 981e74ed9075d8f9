"""Connections lost during a statement: one retry where a retry is harmless, and a deadline for every request."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from flask import Flask
from psycopg import Connection
from werkzeug.test import TestResponse

from app import create_app
from harness.waiting import wait_until
from lib.config import Config
from tests import tokens
from tests.conftest import FRONTEND, SignIn
from tests.factories import Make, User

WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND usename = 'cruddur_service' AND wait_event_type = 'Lock'
"""


@pytest.fixture
def patient(owner: Connection) -> None:
    """Remove the role's own timeouts for locks and statements."""
    for setting in ("lock_timeout", "statement_timeout"):
        owner.execute(f"ALTER ROLE cruddur_service IN DATABASE {owner.info.dbname} SET {setting} TO 0".encode())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Provide threads for requests that wait."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def request_with_lost_connection(
    owner: Connection, request: Callable[[], TestResponse], threads: ThreadPoolExecutor
) -> TestResponse:
    """Return the response to a request whose connection the server ends during the statement."""
    with psycopg.connect(owner.info.dsn, autocommit=True) as watcher:
        with owner.transaction():
            owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
            future = threads.submit(request)
            wait_until(lambda: watcher.execute(WAITING.encode()).fetchone() is not None)
            watcher.execute(f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) AS waiting".encode())
            # A second attempt waits for the lock again.
        return future.result()


def count_calls(app: Flask, endpoint: str) -> list[str]:
    """Return a list that gains an element per call of the view of `endpoint`."""
    calls: list[str] = []
    view: Callable[..., Any] = app.view_functions[endpoint]

    @wraps(view)
    def count(**values: object) -> Any:
        calls.append(endpoint)
        return view(**values)

    app.view_functions[endpoint] = count
    return calls


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("path", ["/api/activities/home", "/api/activities/home?limit=5", "/api/activities/@lin"])
def test_lost_connection_is_retried_for_a_read(
    sign_in: SignIn, make: Make, owner: Connection, threads: ThreadPoolExecutor, path: str
) -> None:
    lin = make.user("lin")
    make.activity(lin, "here")
    client = sign_in(lin)

    calls = count_calls(client.application, "activities.user" if "@" in path else "activities.home")
    response = request_with_lost_connection(owner, lambda: client.get(path), threads)

    assert (response.status_code, b'"here"' in response.data) == (200, True)
    assert len(calls) == 1


@pytest.mark.usefixtures("patient")
def test_lost_connection_is_retried_once_for_a_post_with_an_idempotency_key(
    sign_in: SignIn, make: Make, bystander: User, owner: Connection, threads: ThreadPoolExecutor
) -> None:
    client = sign_in(make.user("lin"))
    body = {"message": "once", "ttl": "1-day"}
    key = {"Idempotency-Key": str(uuid4())}

    calls = count_calls(client.application, "activities.create")
    response = request_with_lost_connection(
        owner, lambda: client.post("/api/activities", json=body, headers=key), threads
    )

    assert (response.status_code, response.json["message"]) == (200, "once")
    assert len(calls) == 1
    assert owner.execute("SELECT count(*) FROM activities WHERE message = 'once'").fetchone() == (1,)
    assert bystander.handle != "lin"


@pytest.mark.usefixtures("patient")
def test_lost_connection_is_not_retried_for_a_write_without_a_key(
    sign_in: SignIn, make: Make, bystander: User, owner: Connection, threads: ThreadPoolExecutor
) -> None:
    client = sign_in(make.user("lin"))
    body = {"message": "never", "ttl": "1-day"}

    response = request_with_lost_connection(owner, lambda: client.post("/api/activities", json=body), threads)

    assert (response.status_code, response.json) == (503, ["service_unavailable"])
    assert owner.execute("SELECT count(*) FROM activities WHERE message = 'never'").fetchone() == (0,)
    assert client.post("/api/activities", json=body).status_code == 200
    assert bystander.handle != "lin"


@pytest.mark.usefixtures("patient")
def test_request_ends_at_its_deadline(
    service_url: str, jwks_url: str, make: Make, owner: Connection, threads: ThreadPoolExecutor
) -> None:
    make.activity(make.user("lin"), "here")
    config = Config(connection_url=service_url, frontend_urls=(FRONTEND,), **tokens.pool(jwks_url), database_timeout=1)
    app = create_app(config)

    with owner.transaction():
        owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        # Neither Postgres nor the lock would ever end the statement.
        response = threads.submit(app.test_client().get, "/api/activities/@lin").result(timeout=30)
        assert (response.status_code, response.json) == (503, ["service_unavailable"])

    assert app.test_client().get("/api/activities/@lin").status_code == 200
    app.extensions["database_pool"].close()
