"""The account: its user reads what is stored, and gets a copy of all of it."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from psycopg import Connection

from app import create_app
from lib import rate_limit_storage
from lib.config import DEVELOPMENT_POOL_ID, Config
from tests.clock import Clock
from tests.cognito import GET_USER, FakeCognito
from tests.conftest import FRONTEND, SignIn
from tests.factories import Make, User
from tests.tokens import bearer

ACCOUNT, EXPORT = "/api/account", "/api/account/export"
EMAIL = "lin@example.com"
LISTS = ("activities", "messages", "conversations", "likes", "reposts", "follows", "mutes", "blocks", "reports")


@pytest.fixture
def app(service_url: str, cognito: FakeCognito) -> Iterator[Flask]:
    """Create the application with the fake Cognito."""
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **cognito.pool))
    yield app
    app.extensions["database_pool"].close()


@pytest.fixture
def lin(make: Make, cognito: FakeCognito) -> User:
    """Create a user with an e-mail address in the pool."""
    user = make.user("LinYue", display_name="Lin Yue", bio="I write.")
    cognito.people[user.cognito_user_id] = {"email": EMAIL}
    return user


def handles(rows: list[dict[str, Any]]) -> list[str]:
    """Return the handles of an export's list."""
    return [row["handle"] for row in rows]


@pytest.mark.usefixtures("bystander")
def test_account_is_the_tokens_with_the_email_of_the_pool(sign_in: SignIn, lin: User, owner: Connection) -> None:
    # No response holds the table's address, which may be older than the pool's.
    owner.execute("UPDATE users SET email = 'old@example.com' WHERE uuid = %s", [lin.uuid])

    response = sign_in(lin).get(ACCOUNT)

    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "private, no-store"
    account = response.json
    created_at = account.pop("created_at")
    assert account == {
        "uuid": str(lin.uuid),
        "handle": "LinYue",
        "display_name": "Lin Yue",
        "bio": "I write.",
        "email": EMAIL,
    }
    (expected,) = owner.execute("SELECT to_json(created_at) FROM users WHERE uuid = %s", [lin.uuid]).fetchone() or ()
    assert created_at == expected


def test_account_without_an_email_in_the_pool_has_none(sign_in: SignIn, lin: User, cognito: FakeCognito) -> None:
    cognito.people[lin.cognito_user_id] = {}

    assert sign_in(lin).get(ACCOUNT).json["email"] is None


def test_account_of_a_development_token_has_no_email_and_asks_no_pool(
    service_url: str, cognito: FakeCognito, lin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.tokens.POOL_ID", DEVELOPMENT_POOL_ID)
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **cognito.pool))
    try:
        response = app.test_client().get(ACCOUNT, headers=bearer(lin.cognito_user_id))
    finally:
        app.extensions["database_pool"].close()

    assert (response.status_code, response.json["handle"], response.json["email"]) == (200, "LinYue", None)
    assert cognito.asked[GET_USER] == 0


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ((400, b'{"__type":"NotAuthorizedException"}'), (401, ["generic_401"])),
        ((400, b'{"__type":"TooManyRequestsException"}'), (503, ["service_unavailable"])),
        ((500, b'{"__type":"InternalErrorException"}'), (503, ["service_unavailable"])),
    ],
)
def test_account_needs_a_response_of_the_pool(
    sign_in: SignIn, lin: User, cognito: FakeCognito, fault: tuple[int, bytes], expected: tuple[int, list[str]]
) -> None:
    cognito.faults[GET_USER] = fault

    for path in (ACCOUNT, EXPORT):
        response = sign_in(lin).get(path)

        assert (response.status_code, response.json) == expected


@pytest.mark.usefixtures("slow_cognito")
def test_wait_for_the_pool_leaves_the_database_its_time(
    app: Flask, sign_in: SignIn, lin: User, cognito: FakeCognito
) -> None:
    for path in (ACCOUNT, EXPORT):
        assert sign_in(lin).get(path).status_code == 200

    # The row of a new user is created after a response of the pool.
    cognito.people["new"] = {"preferred_username": "new", "email": EMAIL}
    assert app.test_client().get(ACCOUNT, headers=bearer("new")).json["handle"] == "new"


def test_export_holds_all_rows_of_the_user_and_of_no_other(
    sign_in: SignIn, make: Make, lin: User, bystander: User, owner: Connection
) -> None:
    kofi, ana, eve = make.user("kofi"), make.user("ana"), make.user("eve")
    theirs, live = make.activity(kofi, "kofi's"), make.activity(lin, "live", age="1 hour")
    reply = make.activity(lin, "a reply", age="30 minutes", reply_to=theirs)
    expired = make.activity(lin, "expired", age="8 days")
    group = make.conversation(lin, kofi, "sent")
    make.message(group, kofi, "received")
    ended = make.message(group, lin, "ended", age="2 hours", ttl="1 hour")
    make.like(theirs, lin, kofi)
    make.repost(theirs, lin)
    make.follow(lin, kofi)
    make.follow(ana, lin)
    make.mute(lin, ana, ttl="1 day")
    make.mute(kofi, lin)
    make.block(ana, lin)
    make.block(lin, eve)
    report = make.report(lin, kofi, activity=theirs)
    make.report(kofi, lin)
    owner.execute("INSERT INTO read_markers VALUES (%s, 'notifications', '2026-01-01Z')", [lin.uuid])
    # The message that ended has left a marker.
    owner.execute("UPDATE read_markers SET read_at = '2026-01-02Z' WHERE feed = %s", [str(group)])

    response = sign_in(lin).get(EXPORT)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Content-Disposition"] == 'attachment; filename="cruddur-LinYue.json"'
    assert response.headers["Cache-Control"] == "private, no-store"
    export = response.json
    assert (export["account"]["handle"], export["account"]["email"]) == ("LinYue", EMAIL)
    assert [(row["uuid"], row["message"], row["is_live"]) for row in export["activities"]] == [
        (str(reply.uuid), "a reply", True),
        (str(live.uuid), "live", True),
        (str(expired.uuid), "expired", False),
    ]
    assert export["activities"][0]["reply_to_activity_uuid"] == str(theirs.uuid)
    assert [(row["message"], row["is_live"]) for row in export["messages"]] == [("sent", True), ("ended", False)]
    assert export["messages"][1]["uuid"] == str(ended)
    assert [(row["uuid"], row["handle"], row["read_at"]) for row in export["conversations"]] == [
        (str(group), "kofi", "2026-01-02T00:00:00+00:00")
    ]
    assert [row["activity_uuid"] for row in export["likes"]] == [str(theirs.uuid)]
    assert [row["activity_uuid"] for row in export["reposts"]] == [str(theirs.uuid)]
    assert handles(export["follows"]) == ["kofi"]
    assert handles(export["mutes"]) == ["ana"]
    assert handles(export["blocks"]) == ["eve"]
    assert [(row["uuid"], row["handle"], row["activity_uuid"]) for row in export["reports"]] == [
        (str(report), "kofi", str(theirs.uuid))
    ]
    assert bystander.handle not in response.text
    assert export["notifications_read_at"] == "2026-01-01T00:00:00+00:00"


def test_export_of_a_new_user_has_empty_lists(sign_in: SignIn, lin: User, bystander: User) -> None:
    export = sign_in(lin).get(EXPORT).json

    assert {name: export[name] for name in LISTS} == {name: [] for name in LISTS}
    assert bystander.handle not in json.dumps(export)


def test_export_says_until_when_backups_hold_the_rows(sign_in: SignIn, lin: User, owner: Connection) -> None:
    stored_until = sign_in(lin).get(EXPORT).json["stored_until"]

    statement = "SELECT now() + interval '35 days' - %s::timestamptz BETWEEN '0 s' AND '1 minute'"
    assert owner.execute(statement, [stored_until]).fetchone() == (True,)


def test_export_has_the_newest_rows_of_a_list_up_to_its_limit(
    sign_in: SignIn, make: Make, lin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.account.MAX_ROWS", 2)
    for age in ("1 hour", "2 hours", "3 hours"):
        make.activity(lin, age, age=age)

    export = sign_in(lin).get(EXPORT).json

    assert [row["message"] for row in export["activities"]] == ["1 hour", "2 hours"]


def test_exports_run_one_at_a_time_in_a_process(app: Flask, sign_in: SignIn, lin: User) -> None:
    client, turns = sign_in(lin), app.extensions["exports"]
    turns.acquire()
    refused = client.get(EXPORT)
    turns.release()

    assert (refused.status_code, refused.json) == (503, ["service_unavailable"])
    assert client.get(EXPORT).status_code == 200
    # A failure has given its turn back, too.
    assert turns.acquire(blocking=False)


def test_export_is_limited_to_one_an_hour_for_each_user(
    sign_in: SignIn, lin: User, make: Make, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(rate_limit_storage, "time", SimpleNamespace(monotonic=clock.monotonic, time=clock.monotonic))
    monkeypatch.setattr("lib.rate_limits.time", SimpleNamespace(time=clock.monotonic))
    client, other = sign_in(lin), make.user("other")
    cognito.people[other.cognito_user_id] = {}
    cognito.faults[GET_USER] = (500, b'{"__type":"InternalErrorException"}')
    # A failure does not use the hour up.
    assert client.get(EXPORT).status_code == 503
    del cognito.faults[GET_USER]

    first = client.get(EXPORT)
    clock.now += 3599
    refused = client.get(EXPORT)

    assert first.status_code == 200
    assert first.headers["RateLimit-Policy"] == '"exports";q=1;w=3600'
    assert (refused.status_code, refused.json) == (429, ["too_many_requests"])
    assert refused.headers["Retry-After"] == "1"
    assert client.get(ACCOUNT).status_code == 200
    assert sign_in(other).get(EXPORT).status_code == 200
    clock.now += 1
    assert client.get(EXPORT).status_code == 200
