"""Requests whose own statement finds the current user: a user without a row yet, and a deleted user."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from flask import Flask
from psycopg import Connection, sql
from werkzeug.test import TestResponse

from app import create_app
from lib.config import Config
from lib.pool import THREADS
from tests import settings
from tests.cognito import GET_USER, FakeCognito
from tests.conftest import FRONTEND
from tests.factories import Activity, Make
from tests.tokens import bearer

SUB = "sub-lin"
LIN = {"preferred_username": "LinYue", "name": "Lin Yue", "email": "lin@example.com"}
KEY = {"Idempotency-Key": "key"}
POST = {"message": "hello @LinYue @author", "ttl": "1-day"}


class Call(NamedTuple):
    """A request, with the uuid of an activity in `path`."""

    method: str
    path: str
    body: dict[str, str] | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - no request changes it


READS = (
    Call("GET", "/api/activities/following"),
    Call("GET", "/api/activities/notifications"),
    Call("GET", "/api/notifications"),
    Call("GET", "/api/notifications/unread"),
)
POSTS = (Call("POST", "/api/activities", POST), Call("POST", "/api/activities", POST, KEY))
# The writes about an activity.
REPLIES_AND_REACTIONS = (
    Call("POST", "/api/activities/{uuid}/reply", {"message": "because"}),
    Call("POST", "/api/activities/{uuid}/reply", {"message": "because"}, {"Idempotency-Key": "another"}),
    Call("PUT", "/api/activities/{uuid}/like"),
    Call("DELETE", "/api/activities/{uuid}/like"),
    Call("PUT", "/api/activities/{uuid}/repost"),
    Call("DELETE", "/api/activities/{uuid}/repost"),
)
CALLS = (*READS, *POSTS, *REPLIES_AND_REACTIONS)


@pytest.fixture
def app(service_url: str, cognito: FakeCognito) -> Iterator[Flask]:
    """Create the application with the fake Cognito, which knows a user without a row."""
    cognito.people[SUB] = LIN
    limits: dict[str, Any] = settings.UNLIMITED
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **limits, **cognito.pool))
    yield app
    app.extensions["database_pool"].close()


@pytest.fixture
def activity(make: Make) -> Activity:
    """Create an activity of another user."""
    return make.activity(make.user("author"))


def send(app: Flask, call: Call, uuid: object, sub: str = SUB) -> TestResponse:
    """Send a request about the activity `uuid` as the user `sub`."""
    path = call.path.format(uuid=uuid)
    return app.test_client().open(path, method=call.method, json=call.body, headers=call.headers | bearer(sub))


def counts(owner: Connection) -> dict[str, int]:
    """Return the number of rows of each table."""
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    statement = sql.SQL("SELECT count(*) FROM {}")
    names = [name for (name,) in owner.execute(tables).fetchall()]
    return {name: owner.execute(statement.format(sql.Identifier(name))).fetchall()[0][0] for name in names}


@pytest.mark.usefixtures("bystander")
def test_first_request_creates_the_user_and_succeeds(
    subtests: pytest.Subtests, app: Flask, activity: Activity, owner: Connection, cognito: FakeCognito
) -> None:
    for number, call in enumerate(CALLS):
        with subtests.test(f"{call.method} {call.path}", headers=call.headers):
            response = send(app, call, activity.uuid)

            assert response.status_code == 200
            assert cognito.asked[GET_USER] == number + 1
            people = "SELECT handle, display_name, email FROM users WHERE cognito_user_id = %s"
            assert owner.execute(people, [SUB]).fetchall() == [("LinYue", "Lin Yue", "lin@example.com")]
            assert send(app, call, activity.uuid).status_code == 200
            assert cognito.asked[GET_USER] == number + 1
        owner.execute("DELETE FROM users WHERE cognito_user_id = %s", [SUB])


@pytest.mark.usefixtures("bystander")
def test_writes_of_a_first_request_are_those_of_the_new_user(
    subtests: pytest.Subtests, app: Flask, activity: Activity, owner: Connection
) -> None:
    author = {"handle": "LinYue", "display_name": "Lin Yue"}
    mentions = """
        SELECT array_agg(users.handle) FROM mentionings JOIN users ON users.uuid = mentionings.user_uuid
        WHERE mentionings.activity_uuid = %s
    """
    for call in POSTS:
        with subtests.test("POST", headers=call.headers):
            created = send(app, call, activity.uuid).json

            assert created.items() >= author.items()
            # The author's mention of itself does not count.
            assert owner.execute(mentions, [created["uuid"]]).fetchall() == [(["author"],)]
            assert (send(app, call, activity.uuid).json["uuid"] == created["uuid"]) == bool(call.headers)
        owner.execute("DELETE FROM users WHERE cognito_user_id = %s", [SUB])
    for word, member in (("like", "liked"), ("repost", "reposted")):
        with subtests.test(word):
            assert send(app, Call("PUT", f"/api/activities/{activity.uuid}/{word}"), None).json[member] is True
        owner.execute("DELETE FROM users WHERE cognito_user_id = %s", [SUB])


@pytest.mark.usefixtures("bystander")
def test_concurrent_first_requests_all_succeed(
    subtests: pytest.Subtests, app: Flask, activity: Activity, owner: Connection
) -> None:
    following, post, keyed_reply, like = READS[0], POSTS[0], *REPLIES_AND_REACTIONS[1:3]
    for call, created in ((following, 0), (post, 32), (keyed_reply, 1), (like, 0)):
        before = counts(owner)
        with subtests.test(f"{call.method} {call.path}"), ThreadPoolExecutor(THREADS) as pool:
            responses = list(pool.map(lambda _, call=call: send(app, call, activity.uuid), range(32)))

            assert {response.status_code for response in responses} == {200}
            after = counts(owner)
            assert after["users"] == before["users"] + 1
            assert after["activities"] == before["activities"] + created
            assert after["likes"] == before["likes"] + (call is like)
        owner.execute("DELETE FROM users WHERE cognito_user_id = %s", [SUB])


@pytest.mark.usefixtures("bystander")
def test_request_of_a_deleted_user_is_unauthorized_and_writes_nothing(
    subtests: pytest.Subtests, app: Flask, activity: Activity, make: Make, cognito: FakeCognito
) -> None:
    lin, uuid = make.user("LinYue"), uuid4()
    request = [lin.cognito_user_id, "35 days", uuid]
    make.owner.execute("SELECT request_deletion(%s, %s, %s)", request)
    # The user pool may know the user yet.
    cognito.people[lin.cognito_user_id] = LIN

    for step in ("SELECT", "SELECT confirm_deletion(sub_hash, 'deleted') FROM deletions"):
        make.owner.execute(step.encode())
        before = counts(make.owner)
        for call in CALLS:
            with subtests.test(f"{call.method} {call.path}", headers=call.headers, step=step):
                response = send(app, call, activity.uuid, lin.cognito_user_id)

                assert (response.status_code, response.json) == (401, ["generic_401"])
                assert counts(make.owner) == before
    assert cognito.asked[GET_USER] == 0


@pytest.mark.usefixtures("bystander")
def test_user_without_a_row_depends_on_cognito(
    subtests: pytest.Subtests, app: Flask, activity: Activity, owner: Connection, cognito: FakeCognito
) -> None:
    before = counts(owner)
    for call in CALLS:
        for fault, status in (((500, b"oops"), 503), ((400, b'{"__type": "UserNotFoundException"}'), 401)):
            with subtests.test(f"{call.method} {call.path}", headers=call.headers, status=status):
                cognito.faults[GET_USER] = fault
                response = send(app, call, activity.uuid)

                assert response.status_code == status
                assert counts(owner) == before


@pytest.mark.usefixtures("bystander")
def test_missing_activity_is_not_found_for_a_new_and_a_known_user(
    subtests: pytest.Subtests, app: Flask, owner: Connection, cognito: FakeCognito
) -> None:
    for call in REPLIES_AND_REACTIONS:
        with subtests.test(f"{call.method} {call.path}", headers=call.headers):
            for _ in range(2):
                response = send(app, call, uuid4())

                assert (response.status_code, response.json) == (404, ["not_found"])
            assert owner.execute("SELECT count(*) FROM users WHERE cognito_user_id = %s", [SUB]).fetchone() == (1,)
    assert cognito.asked[GET_USER] == 1
    assert counts(owner)["idempotency_keys"] == 1


@pytest.mark.usefixtures("bystander")
def test_invalid_input_asks_neither_database_nor_cognito(
    subtests: pytest.Subtests, app: Flask, activity: Activity, owner: Connection, cognito: FakeCognito
) -> None:
    before = counts(owner)
    for call in (
        *(Call("POST", "/api/activities", {"message": " ", "ttl": "1-day"}, headers) for headers in ({}, KEY)),
        Call("POST", "/api/activities/{uuid}/reply", {"message": " "}),
        *(read._replace(path=f"{read.path}?cursor=x") for read in READS[:3]),
    ):
        with subtests.test(f"{call.method} {call.path}", headers=call.headers):
            response = send(app, call, activity.uuid)

            assert response.status_code in {400, 422}
            assert "db;dur=0.00" in response.headers["Server-Timing"]
    assert counts(owner) == before
    assert cognito.asked[GET_USER] == 0


def test_known_user_needs_no_cognito(
    subtests: pytest.Subtests, app: Flask, activity: Activity, make: Make, cognito: FakeCognito
) -> None:
    lin = make.user("LinYue")
    cognito.faults[GET_USER] = (500, b"oops")
    for call in CALLS:
        with subtests.test(f"{call.method} {call.path}", headers=call.headers):
            assert send(app, call, activity.uuid, lin.cognito_user_id).status_code == 200
    assert cognito.asked[GET_USER] == 0
