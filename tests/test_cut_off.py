"""Requests whose connection is lost in the middle: tried once more where that does no harm, and not otherwise."""

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
    """A database where the service's role waits for locks and statements without an end."""
    for setting in ("lock_timeout", "statement_timeout"):
        owner.execute(f"ALTER ROLE cruddur_service IN DATABASE {owner.info.dbname} SET {setting} TO 0".encode())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Where requests wait."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def cut_off(owner: Connection, request: Callable[[], TestResponse], threads: ThreadPoolExecutor) -> TestResponse:
    """The answer to a request whose connection the server ends while its statement runs."""
    with psycopg.connect(owner.info.dsn, autocommit=True) as watcher:
        with owner.transaction():
            owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
            answering = threads.submit(request)
            wait_until(lambda: watcher.execute(WAITING.encode()).fetchone() is not None)
            watcher.execute(f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) AS waiting".encode())
            # A second try waits for the lock again.
        return answering.result()


def counted(app: Flask, endpoint: str) -> list[str]:
    """An element for each time that the view of `endpoint` runs."""
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
def test_a_read_is_tried_once_more(
    sign_in: SignIn, make: Make, owner: Connection, threads: ThreadPoolExecutor, path: str
) -> None:
    lin = make.user("lin")
    make.activity(lin, "here")
    client = sign_in(lin)

    calls = counted(client.application, "activities.user" if "@" in path else "activities.home")
    answer = cut_off(owner, lambda: client.get(path), threads)

    assert (answer.status_code, b'"here"' in answer.data) == (200, True)
    assert len(calls) == 1


@pytest.mark.usefixtures("patient")
def test_a_post_with_a_key_is_tried_once_more_and_happens_once(
    sign_in: SignIn, make: Make, bystander: User, owner: Connection, threads: ThreadPoolExecutor
) -> None:
    client = sign_in(make.user("lin"))
    body = {"message": "once", "ttl": "1-day"}
    key = {"Idempotency-Key": str(uuid4())}

    calls = counted(client.application, "activities.create")
    answer = cut_off(owner, lambda: client.post("/api/activities", json=body, headers=key), threads)

    assert (answer.status_code, answer.json["message"]) == (200, "once")
    assert len(calls) == 1
    assert owner.execute("SELECT count(*) FROM activities WHERE message = 'once'").fetchone() == (1,)
    assert bystander.handle != "lin"


@pytest.mark.usefixtures("patient")
def test_a_write_without_a_key_is_not(
    sign_in: SignIn, make: Make, bystander: User, owner: Connection, threads: ThreadPoolExecutor
) -> None:
    client = sign_in(make.user("lin"))
    body = {"message": "never", "ttl": "1-day"}

    answer = cut_off(owner, lambda: client.post("/api/activities", json=body), threads)

    assert (answer.status_code, answer.json) == (503, ["service_unavailable"])
    assert owner.execute("SELECT count(*) FROM activities WHERE message = 'never'").fetchone() == (0,)
    assert client.post("/api/activities", json=body).status_code == 200
    assert bystander.handle != "lin"


@pytest.mark.usefixtures("patient")
def test_a_request_waits_no_longer_than_it_may(
    service_url: str, jwks_url: str, make: Make, owner: Connection, threads: ThreadPoolExecutor
) -> None:
    make.activity(make.user("lin"), "here")
    config = Config(connection_url=service_url, frontend_urls=(FRONTEND,), **tokens.pool(jwks_url), database_timeout=1)
    app = create_app(config)

    with owner.transaction():
        owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        # Neither Postgres nor the lock would ever end it.
        answer = threads.submit(app.test_client().get, "/api/activities/@lin").result(timeout=30)
        assert (answer.status_code, answer.json) == (503, ["service_unavailable"])

    assert app.test_client().get("/api/activities/@lin").status_code == 200
    app.extensions["database_pool"].close()
