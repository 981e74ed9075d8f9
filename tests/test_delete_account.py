"""Deleting an account: the request, the user pool's outcomes, later reads and tokens, and the purge of the rows."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from flask import Flask
from psycopg import Connection, sql
from werkzeug.test import TestResponse

from app import create_app
from lib import cognito as cognito_module
from lib.cognito import Cognito
from lib.config import Config
from lib.database import Db
from lib.queries import load_sql
from services import delete_account
from tests import settings, tokens
from tests.cognito import DELETE_USER, FakeCognito
from tests.conftest import FRONTEND
from tests.factories import Activity, Make, User
from tests.tokens import bearer

ACCOUNT = "/api/account"
MARKER = "f1ndme"
# What a deletion leaves of a user, by table: for the partner of a conversation, or with a reason.
KEPT = {
    # The anonymised row, its conversation, and the messages.
    *("users", "message_groups", "messages", "last_messages"),
    # The copy of what was reported stays until the report expires.
    "reports",
}
TABLES = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    ORDER BY relname
"""


def create(service_url: str, pool: dict[str, Any]) -> Flask:
    """Create the application with that pool."""
    limits: dict[str, Any] = settings.UNLIMITED
    return create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **limits, **pool))


@pytest.fixture
def app(service_url: str, cognito: FakeCognito) -> Iterator[Flask]:
    """Create the application with the fake Cognito."""
    app = create(service_url, cognito.pool)
    yield app
    app.extensions["database_pool"].close()


@pytest.fixture
def andrew(make: Make, cognito: FakeCognito) -> User:
    """Insert a user whom Cognito knows too."""
    andrew = make.user("andrewbrown", display_name="Andrew Brown")
    cognito.people[andrew.cognito_user_id] = {}
    return andrew


@pytest.fixture
def ask(app: Flask) -> Callable[..., TestResponse]:
    """Return a function that deletes a user's account."""

    def ask(user: User, handle: Any = None, **claims: Any) -> TestResponse:
        body = {"handle": handle or user.handle}
        return app.test_client().delete(ACCOUNT, json=body, headers=bearer(user.cognito_user_id, **claims))

    return ask


Ask = Callable[..., TestResponse]


def deletions(owner: Connection) -> list[tuple[Any, ...]]:
    """Return outcome, kept sub, and whether it is confirmed and finished, of each deletion."""
    statement = """
        SELECT outcome, cognito_user_id, confirmed_at IS NOT NULL, finished_at IS NOT NULL
        FROM deletions ORDER BY requested_at
    """
    return owner.execute(statement).fetchall()


def purge(owner: Connection, *, age: str = "71 seconds") -> None:
    """Purge until no more is to do, with deletions that are `age` old."""
    owner.execute("UPDATE deletions SET confirmed_at = confirmed_at - %s::interval WHERE finished_at IS NULL", [age])
    for _ in range(200):
        row = owner.execute("SELECT activities, ended, idempotency_keys, messages FROM purge(1000)").fetchone()
        assert row is not None
        if not any(row):
            return
    raise AssertionError("the purge does not end")


def named(owner: Connection, *texts: str) -> dict[str, int]:
    """Return the numbers of rows in which one of `texts` is, by table."""
    found = {}
    for (table,) in owner.execute(TABLES).fetchall():
        statement = sql.SQL("SELECT count(*) FROM {0} WHERE {0}::text ~* %s").format(sql.Identifier(table))
        row = owner.execute(statement, ["|".join(texts)]).fetchone()
        if row and row[0]:
            found[table] = row[0]
    return found


@pytest.mark.usefixtures("bystander")
def test_user_is_deleted_in_pool_and_database(ask: Ask, andrew: User, owner: Connection, cognito: FakeCognito) -> None:
    response = ask(andrew)

    assert (response.status_code, response.json) == (200, {"uuid": str(andrew.uuid)})
    assert response.headers["Cache-Control"] == "private, no-store"
    assert cognito.people == {}
    assert deletions(owner) == [("deleted", None, True, False)]
    purge(owner)
    assert deletions(owner) == [("deleted", None, True, True)]
    assert named(owner, "andrew", str(andrew.uuid), f"{andrew.cognito_user_id}\\M") == {}
    (row,) = owner.execute("SELECT sub_hash, user_uuid, expires_at - requested_at FROM deletions").fetchall()
    assert row[:2] == (sha256(andrew.cognito_user_id.encode()).digest(), None)
    assert row[2].days == 35


@pytest.mark.parametrize("typed", ["andrewbrown", "ANDREWBROWN", "@AndrewBrown"])
def test_handle_is_compared_without_case(ask: Ask, andrew: User, typed: str) -> None:
    assert ask(andrew, typed).status_code == 200


@pytest.mark.usefixtures("bystander")
def test_other_handle_deletes_nothing(
    subtests: pytest.Subtests, ask: Ask, andrew: User, owner: Connection, cognito: FakeCognito
) -> None:
    for typed in ("andrew", "bystander", "@@andrewbrown", " andrewbrown", 1, ["andrewbrown"], " "):
        with subtests.test(repr(typed)):
            response = ask(andrew, typed)

            assert (response.status_code, response.json) == (422, ["handle_mismatch"])
    assert deletions(owner) == []
    assert cognito.asked[DELETE_USER] == 0


SIGN_INS = {"5:00": (300, 200), "5:01": (301, 401), "ahead": (-30, 200), "too far ahead": (-31, 401)}


@pytest.mark.parametrize("sign_in", SIGN_INS.values(), ids=SIGN_INS)
def test_sign_in_is_at_most_five_minutes_old(
    ask: Ask, andrew: User, owner: Connection, monkeypatch: pytest.MonkeyPatch, sign_in: tuple[int, int]
) -> None:
    (age, status), now = sign_in, time.time()
    monkeypatch.setattr(delete_account, "time", SimpleNamespace(time=lambda: now))

    response = ask(andrew, auth_time=int(now) - age)

    assert response.status_code == status
    assert status == 200 or response.json == ["reauthentication_required"]
    assert len(deletions(owner)) == (status == 200)


@pytest.mark.parametrize("claim", [None, "1764403200", True, [], {}, 1e300, float("nan")])
def test_sign_in_time_must_be_a_number(ask: Ask, andrew: User, owner: Connection, claim: Any) -> None:
    response = ask(andrew, auth_time=claim)

    assert (response.status_code, response.json) == (401, ["reauthentication_required"])
    assert deletions(owner) == []


def test_cached_verification_keeps_the_sign_in_time(app: Flask, ask: Ask, andrew: User) -> None:
    headers = bearer(andrew.cognito_user_id, auth_time=int(time.time()) - 301)
    for _ in range(2):
        response = app.test_client().delete(ACCOUNT, json={"handle": andrew.handle}, headers=headers)
        assert response.json == ["reauthentication_required"]

    assert ask(andrew).status_code == 200


REFUSALS = [
    ((400, b'{"__type":"NotAuthorizedException"}'), 401),
    ((400, b'{"__type":"com.amazonaws#UserNotConfirmedException"}'), 401),
    ((400, b'{"__type":"TooManyRequestsException"}'), 503),
    ((400, b'{"__type":"ResourceNotFoundException"}'), 503),
    ((403, b"<html>"), 503),
    ((404, b"[]"), 503),
]


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("refusal", REFUSALS)
def test_refusal_of_the_pool_deletes_nothing(
    ask: Ask, andrew: User, owner: Connection, cognito: FakeCognito, refusal: tuple[tuple[int, bytes], int]
) -> None:
    fault, status = refusal
    before = owner.execute("SELECT users::text FROM users ORDER BY uuid").fetchall()
    cognito.faults[DELETE_USER] = fault

    response = ask(andrew)

    assert response.status_code == status
    assert ("Retry-After" in response.headers) == (status == 503)
    assert deletions(owner) == []
    assert owner.execute("SELECT users::text FROM users ORDER BY uuid").fetchall() == before
    cognito.faults.clear()
    assert ask(andrew).status_code == 200


def test_unreachable_pool_deletes_nothing(service_url: str, jwks_url: str, andrew: User, owner: Connection) -> None:
    app = create(service_url, tokens.pool(jwks_url))
    headers = bearer(andrew.cognito_user_id)

    # The second attempt meets the breaker.
    for _ in range(2):
        response = app.test_client().delete(ACCOUNT, json={"handle": andrew.handle}, headers=headers)
        assert (response.status_code, response.json) == (503, ["service_unavailable"])
        assert int(response.headers["Retry-After"]) > 0
        assert deletions(owner) == []
    assert app.test_client().get("/api/users/me", headers=headers).status_code == 200
    app.extensions["database_pool"].close()


@pytest.mark.parametrize("status", [500, 502, 503])
def test_failure_of_the_pool_leaves_its_outcome_open(
    ask: Ask, andrew: User, owner: Connection, cognito: FakeCognito, status: int
) -> None:
    cognito.faults[DELETE_USER] = (status, b'{"__type":"InternalErrorException"}')

    assert ask(andrew).status_code == 200
    assert deletions(owner) == [("unknown", andrew.cognito_user_id, True, False)]
    purge(owner)
    assert deletions(owner) == [("unknown", andrew.cognito_user_id, True, True)]
    # An operator closes such a deletion, and until then no token makes a new user.
    owner.execute("UPDATE deletions SET expires_at = now()")
    purge(owner)
    assert len(deletions(owner)) == 1


def test_slow_pool_is_not_waited_for(
    ask: Ask, andrew: User, owner: Connection, cognito: FakeCognito, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cognito_module.DELETION_SECONDS <= 3
    monkeypatch.setattr(cognito_module, "DELETION_SECONDS", 0.3)
    app_ready = ask(andrew, "another")
    assert app_ready.status_code == 422
    cognito.answering.clear()

    start = time.monotonic()
    response = ask(andrew)

    assert response.status_code == 200
    assert time.monotonic() - start < 1.5
    assert deletions(owner) == [("unknown", andrew.cognito_user_id, True, False)]


@pytest.mark.usefixtures("slow_cognito")
def test_slow_success_is_confirmed_at_once(ask: Ask, andrew: User, owner: Connection) -> None:
    assert ask(andrew).status_code == 200
    assert deletions(owner) == [("deleted", None, True, False)]


@pytest.fixture
def refusing(cognito: FakeCognito) -> None:
    """Have the pool refuse deletions."""
    cognito.faults[DELETE_USER] = (400, b'{"__type":"TooManyRequestsException"}')


@pytest.mark.usefixtures("bystander", "refusing", "slow_cognito")
def test_slow_refusal_deletes_nothing(ask: Ask, andrew: User, owner: Connection) -> None:
    assert ask(andrew).status_code == 503
    assert deletions(owner) == []


def lose(patch: pytest.MonkeyPatch, query: str, commits: list[bool]) -> None:
    """Lose the connection during a query, as often as `commits` has entries: after its commit, or before."""
    query_row, rest = Db.query_row, iter(commits)

    def lost(db: Db, name: str, **parameters: Any) -> Any:
        is_committed = next(rest, None) if name == query else None
        row = None if is_committed is False else query_row(db, name, **parameters)
        if is_committed is None:
            return row
        raise psycopg.OperationalError

    patch.setattr(Db, "query_row", lost)


@pytest.mark.usefixtures("bystander", "refusing")
@pytest.mark.parametrize("commits", [[True], [False]])
def test_refusal_deletes_nothing_when_the_database_is_lost_once(
    ask: Ask, andrew: User, owner: Connection, monkeypatch: pytest.MonkeyPatch, commits: list[bool]
) -> None:
    lose(monkeypatch, "deletions/refuse", commits)

    assert ask(andrew).status_code == 503
    assert deletions(owner) == []


@pytest.mark.usefixtures("refusing")
def test_refusal_that_no_database_stores_is_a_failure(
    ask: Ask, andrew: User, owner: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lose(monkeypatch, "deletions/refuse", [False, False])

    assert ask(andrew).status_code == 503
    assert deletions(owner) == [("requested", andrew.cognito_user_id, False, False)]
    sub_hash = sha256(andrew.cognito_user_id.encode()).hexdigest()
    assert f"a deletion could not be taken back: {sub_hash}" in caplog.messages


@pytest.mark.usefixtures("refusing")
def test_refusal_after_the_confirmation_does_not_stop_the_deletion(
    ask: Ask, andrew: User, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_user = Cognito.delete_user

    def confirmed_meanwhile(pool: Cognito, token: cognito_module.Token) -> str:
        owner.execute("SELECT confirm_deletion(sub_hash, 'unknown') FROM deletions")
        return delete_user(pool, token)

    monkeypatch.setattr(Cognito, "delete_user", confirmed_meanwhile)

    assert ask(andrew).status_code == 200
    assert deletions(owner) == [("unknown", andrew.cognito_user_id, True, False)]


def test_user_that_the_pool_does_not_know_is_deleted(
    ask: Ask, andrew: User, owner: Connection, cognito: FakeCognito
) -> None:
    cognito.people.clear()

    assert ask(andrew).status_code == 200
    assert deletions(owner) == [("deleted", None, True, False)]


REQUESTS: list[tuple[str, str, dict[str, str] | None]] = [
    ("GET", "/api/activities/home", None),
    ("GET", "/api/activities/@bystander", None),
    ("GET", "/api/activities/tagged/bystander", None),
    ("GET", "/api/users/me", None),
    ("GET", "/api/activities/notifications", None),
    ("POST", "/api/activities", {"message": "hello", "ttl": "1-day"}),
    ("DELETE", ACCOUNT, {"handle": "andrewbrown"}),
]


def statuses(app: Flask, user: User) -> set[int]:
    """Send 64 concurrent requests with one token. Return their statuses."""
    headers = bearer(user.cognito_user_id)

    def send(number: int) -> int:
        method, path, body = REQUESTS[number % len(REQUESTS)]
        return app.test_client().open(path, method=method, json=body, headers=headers).status_code

    with ThreadPoolExecutor(16) as threads:
        return set(threads.map(send, range(64)))


@pytest.mark.usefixtures("bystander")
def test_token_is_rejected_during_and_after_the_deletion(
    app: Flask, ask: Ask, andrew: User, owner: Connection, cognito: FakeCognito
) -> None:
    tables = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM activities)"
    before = owner.execute(tables).fetchall()
    request = uuid4()
    owner.execute("SELECT request_deletion(%s, interval '35 days', %s)", [andrew.cognito_user_id, request])
    assert statuses(app, andrew) == {401}
    # Of concurrent searches the service rejects some.
    search = app.test_client().get("/api/activities/search?term=hello", headers=bearer(andrew.cognito_user_id))
    assert search.status_code == 401
    # No query is needed for a text that is no hashtag.
    tagged = app.test_client().get("/api/activities/tagged/no-hashtag!", headers=bearer(andrew.cognito_user_id))
    assert tagged.status_code == 401
    sub_hash = sha256(andrew.cognito_user_id.encode()).digest()
    # Another request of the same user cannot take the deletion back.
    assert owner.execute("SELECT refuse_deletion(%s, %s)", [sub_hash, uuid4()]).fetchone() == (False,)
    assert owner.execute("SELECT refuse_deletion(%s, %s)", [sub_hash, request]).fetchone() == (True,)
    assert owner.execute(tables).fetchall() == before

    assert ask(andrew).status_code == 200
    # The user pool may know the user yet.
    cognito.people[andrew.cognito_user_id] = {"preferred_username": "andrewbrown"}
    assert statuses(app, andrew) == {401}
    assert owner.execute(tables).fetchall() == before
    purge(owner)
    assert statuses(app, andrew) == {401}
    assert owner.execute(
        "SELECT count(*) FROM users WHERE cognito_user_id = %s", [andrew.cognito_user_id]
    ).fetchone() == (0,)


def test_profile_update_that_began_before_the_deletion_names_no_deleted_user(
    app: Flask, andrew: User, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The row stays for the partner of a conversation.
    make.conversation(andrew, make.user("partner"), "hello")
    query_object = Db.query_object

    def delete_before(db: Db, name: str, **parameters: Any) -> Any:
        if name == "users/update":
            request_and_confirm(make.owner, andrew)
        return query_object(db, name, **parameters)

    monkeypatch.setattr(Db, "query_object", delete_before)
    profile = {"display_name": MARKER, "bio": MARKER}
    headers = bearer(andrew.cognito_user_id)

    response = app.test_client().put("/api/profile/update", json=profile, headers=headers)

    assert (response.status_code, response.json) == (401, ["generic_401"])
    purge(make.owner)
    assert named(make.owner, MARKER) == {}


def test_creation_that_began_before_the_deletion_makes_no_user(
    ask: Ask, andrew: User, owner: Connection, service_url: str
) -> None:
    ask(andrew)
    purge(owner)

    with psycopg.connect(service_url, autocommit=True) as service:
        parameters = {"handle": "andrewbrown", "display_name": "x", "email": None}
        for sub, created in ((andrew.cognito_user_id, 0), ("another", 1)):
            statement = load_sql("users/create").encode()
            assert service.execute(statement, parameters | {"cognito_user_id": sub}).rowcount == created


def interrupt(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """End the request's thread before the query or the call `name`, as a killed process does."""

    def stop(*_: object, **__: object) -> None:
        raise SystemExit

    if name == "pool":
        monkeypatch.setattr(Cognito, "delete_user", stop)
    else:
        monkeypatch.setattr(delete_account.DeleteAccount, f"_{name}", stop)


@pytest.mark.parametrize("step", ["request", "pool", "confirm"])
def test_interrupted_deletion_is_completed_or_as_if_never_asked(
    ask: Ask, andrew: User, owner: Connection, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    outcome = None if step == "request" else "unknown"
    with monkeypatch.context() as patch:
        interrupt(patch, step)
        with pytest.raises(SystemExit):
            ask(andrew)

    owner.execute("UPDATE deletions SET requested_at = requested_at - interval '59 seconds'")
    purge(owner)
    assert [row[2] for row in deletions(owner)] == ([False] if outcome else [])
    owner.execute("UPDATE deletions SET requested_at = requested_at - interval '2 seconds'")
    purge(owner)
    purge(owner)
    expected = [(outcome, andrew.cognito_user_id, True, True)] if outcome else []
    assert deletions(owner) == expected
    assert ask(andrew).status_code == (401 if outcome else 200)


def test_lost_database_completes_the_deletion_later(
    ask: Ask, andrew: User, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        lose(patch, "deletions/confirm", [False])
        assert ask(andrew).status_code == 200

    assert deletions(owner) == [("requested", andrew.cognito_user_id, False, False)]
    owner.execute("UPDATE deletions SET requested_at = requested_at - interval '61 seconds'")
    purge(owner)
    purge(owner)
    assert deletions(owner) == [("unknown", andrew.cognito_user_id, True, True)]


def test_locked_user_is_confirmed_at_once_and_anonymised_later(
    app: Flask, ask: Ask, andrew: User, make: Make, owner_url: str
) -> None:
    owner = make.owner
    make.activity(andrew, "soon hidden")
    with psycopg.connect(owner_url) as locker:
        locker.execute("SELECT FROM users WHERE uuid = %s FOR KEY SHARE", [andrew.uuid])
        assert ask(andrew).status_code == 200

        assert deletions(owner) == [("deleted", None, True, False)]
        assert "soon hidden" not in app.test_client().get("/api/activities/home").text
    assert owner.execute("SELECT handle FROM users WHERE uuid = %s", [andrew.uuid]).fetchone() == (andrew.handle,)
    owner.execute("SELECT FROM purge(1000)")

    rows = owner.execute("SELECT handle FROM users WHERE uuid = %s", [andrew.uuid]).fetchall()
    assert [handle[:8] for (handle,) in rows] == ["deleted_"]


def test_activity_of_the_future_does_not_keep_the_purge_busy(
    ask: Ask, andrew: User, owner: Connection, make: Make
) -> None:
    make.activity(andrew, "of a clock that was set", age="-1 hour")
    assert ask(andrew).status_code == 200

    purge(owner)

    assert [row[3] for row in deletions(owner)] == [False]


def test_deletion_ends_seventy_seconds_after_its_confirmation(
    ask: Ask, andrew: User, owner: Connection, make: Make
) -> None:
    assert ask(andrew).status_code == 200
    purge(owner, age="69 seconds")
    assert [row[3] for row in deletions(owner)] == [False]
    # A write that began before the confirmation.
    late = make.activity(andrew, "late")

    purge(owner, age="2 seconds")

    assert [row[3] for row in deletions(owner)] == [True]
    assert owner.execute("SELECT FROM activities WHERE uuid = %s", [late.uuid]).fetchall() == []
    assert owner.execute("SELECT FROM users WHERE uuid = %s", [andrew.uuid]).fetchall() == []


def request_and_confirm(owner: Connection, user: User) -> None:
    """Delete a user in the database."""
    owner.execute("SELECT request_deletion(%s, interval '35 days', gen_random_uuid())", [user.cognito_user_id])
    sub_hash = sha256(user.cognito_user_id.encode()).digest()
    owner.execute("SELECT confirm_deletion(%s, 'deleted')", [sub_hash])


class Scene:
    """A user with one of everything, and a partner who has the same with the user."""

    def __init__(self, make: Make, user: User) -> None:
        self.user, self.partner = user, make.user("partner")
        self.own = make.tag(make.activity(user, MARKER), MARKER)
        self.partners = make.activity(self.partner, "the partner's")
        self.reply = make.activity(user, f"{MARKER} replies", reply_to=self.partners)
        self.below = make.activity(self.partner, "below", reply_to=self.own)
        self.mention = self.mentioning(make, user)
        for activity in (self.own, self.partners):
            make.like(activity, user, self.partner)
            make.repost(activity, user, self.partner)
        make.follow(user, self.partner)
        make.follow(self.partner, user)
        make.mute(user, self.partner)
        make.mute(self.partner, user)
        make.block(user, make.user("blocked"))
        make.report(user, self.partner)
        make.owner.execute("UPDATE reports SET comment = %s WHERE reporter_uuid = %s", [MARKER, user.uuid])
        make.report(self.partner, user)
        make.owner.execute("INSERT INTO read_markers VALUES (%s, 'notifications', now())", [user.uuid])
        self.group = make.conversation(user, self.partner, "hello partner")
        make.owner.execute("INSERT INTO idempotency_keys VALUES (%s, %s, '', gen_random_uuid())", [user.uuid, MARKER])

    def mentioning(self, make: Make, user: User) -> Activity:
        """Insert an activity that mentions the user, as the service does."""
        activity = make.activity(make.user("third"), "about a user")
        make.owner.execute("UPDATE activities SET mentions = ARRAY[%s] WHERE uuid = %s", [user.uuid, activity.uuid])
        make.mention(activity, user)
        return activity


@pytest.fixture
def scene(make: Make, cognito: FakeCognito) -> Scene:
    """Insert a user with one of everything."""
    user = make.user(MARKER, display_name=MARKER, bio=MARKER)
    make.owner.execute(
        "UPDATE users SET email = %s, cognito_user_id = %s WHERE uuid = %s", [MARKER, f"sub-{MARKER}", user.uuid]
    )
    user = User(user.uuid, MARKER, MARKER, f"sub-{MARKER}")
    cognito.people[user.cognito_user_id] = {}
    return Scene(make, user)


@pytest.mark.usefixtures("bystander")
def test_nothing_of_the_user_remains(app: Flask, ask: Ask, scene: Scene, owner: Connection, make: Make) -> None:
    user, uuid = scene.user, str(scene.user.uuid)
    assert set(named(owner, MARKER, uuid)) == {
        table
        for (table,) in owner.execute(TABLES)
        if table not in {"alembic_version", "unfinished_threads", "deletions"}
    }
    assert ask(user).status_code == 200
    purge(owner)

    assert named(owner, MARKER) == {}
    assert set(named(owner, uuid)) <= KEPT - {"reports"}
    assert deletions(owner) == [("deleted", None, True, True)]
    assert owner.execute(
        "SELECT reporter_uuid IS NULL, reported_uuid IS NULL, comment FROM reports ORDER BY 1, 2"
    ).fetchall()[1:] == [(False, True, None), (True, False, None)]
    # The counters of others.
    assert make.miscounted() == []
    assert make.miscounted_follows() == []
    rows = owner.execute("SELECT message, replies_count FROM activities WHERE user_uuid = %s", [scene.partner.uuid])
    assert rows.fetchall() == [("the partner's", 0)]
    client = app.test_client()
    headers = bearer(scene.partner.cognito_user_id)
    (message,) = client.get(f"/api/messages/{scene.group}", headers=headers).json
    assert message["message"] == "hello partner"
    assert message["display_name"] == "Deleted user"
    assert message["handle"].startswith("deleted_")
    (group,) = client.get("/api/message_groups", headers=headers).json
    assert group["handle"] == message["handle"]
    handle = message["handle"]
    for method, path, body in (
        ("GET", f"/api/activities/@{handle}", None),
        ("GET", f"/api/users/@{handle}/short", None),
        ("PUT", f"/api/users/@{handle}/follow", None),
        ("PUT", f"/api/users/@{handle}/mute", None),
        ("PUT", f"/api/users/@{handle}/block", None),
        ("POST", "/api/reports", {"handle": handle, "category": "spam"}),
        ("POST", "/api/messages", {"handle": handle, "message": "hello"}),
        ("POST", "/api/messages", {"message_group_uuid": str(scene.group), "message": "hello"}),
    ):
        assert client.open(path, method=method, json=body, headers=headers).status_code == 404, path
    assert client.get(f"/api/users/relationships?handles={handle}", headers=headers).json == []


READS = [
    *("/api/activities/home", f"/api/activities/search?term={MARKER}", f"/api/activities/tagged/{MARKER}"),
    *("/api/activities/following", "/api/activities/liked", "/api/activities/notifications", "/api/notifications"),
    *("/api/users/suggested", "/api/users/muted", "/api/users/blocked", f"/api/users/relationships?handles={MARKER}"),
    *("/api/users/@partner/followers", "/api/users/@partner/following", "/api/activities/@partner?reposts=true"),
    *("/api/activities/{partners}/likes", "/api/activities/{partners}/reposts"),
    "/api/activities/@partner/status/{partners}",
]
MISSING = [f"/api/activities/@{MARKER}", f"/api/users/@{MARKER}/short", f"/api/activities/@{MARKER}/status/{{own}}"]


def test_user_is_in_no_read_from_the_confirmation_on(
    subtests: pytest.Subtests, app: Flask, ask: Ask, scene: Scene, make: Make
) -> None:
    make.owner.execute("DELETE FROM mutes")
    client, headers = app.test_client(), bearer(scene.partner.cognito_user_id)
    paths = [path.format(partners=scene.partners.uuid, own=scene.own.uuid) for path in READS + MISSING]
    before = {path: client.get(path, headers=headers) for path in paths}
    unread = client.get("/api/notifications/unread", headers=headers).json["count"]
    seen = [path for path in READS if MARKER.encode() in before[path.format(partners=scene.partners.uuid)].data]
    # A user is suggested to strangers, and the lists of muted and blocked users are empty here.
    assert {*READS} - {*seen} == {"/api/users/suggested", "/api/users/muted", "/api/users/blocked"}
    make.mute(scene.partner, scene.user)
    make.block(scene.partner, scene.user)
    assert all(
        MARKER.encode() in client.get(f"/api/users/{name}", headers=headers).data for name in ("muted", "blocked")
    )
    make.owner.execute("DELETE FROM mutes")
    make.owner.execute("DELETE FROM blocks")

    assert ask(scene.user).status_code == 200

    uuid = str(scene.user.uuid).encode()
    for path in paths:
        with subtests.test(path):
            response = client.get(path, headers=headers)
            assert MARKER.encode() not in response.data.replace(b'"hashtag":"' + MARKER.encode(), b"")
            assert uuid not in response.data
            assert b"deleted_" not in response.data
            assert before[path].status_code == 200
            missing = path in [each.format(own=scene.own.uuid) for each in MISSING]
            assert response.status_code == (404 if missing else 200)
    assert unread > 0
    assert client.get("/api/notifications/unread", headers=headers).json["count"] == 0


def test_conversation_goes_with_its_last_member(
    ask: Ask, make: Make, owner: Connection, cognito: FakeCognito, andrew: User
) -> None:
    partner = make.user("partner")
    cognito.people[partner.cognito_user_id] = {}
    make.conversation(andrew, partner, "hello")
    ask(andrew)
    purge(owner)
    assert owner.execute("SELECT display_name FROM users ORDER BY 1").fetchall() == [("Deleted user",), ("Test User",)]

    ask(partner)
    purge(owner)

    for table in ("users", "message_groups", "messages", "last_messages", "read_markers"):
        assert owner.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(table))).fetchall() == [], table


def test_conversation_goes_with_its_last_message(ask: Ask, make: Make, owner: Connection, andrew: User) -> None:
    partner = make.user("partner")
    group = make.conversation(andrew, partner)
    message = make.message(group, partner, "it ends", ttl="1 day")
    ask(andrew)
    purge(owner)
    assert owner.execute("SELECT count(*) FROM users").fetchone() == (2,)
    (markers,) = owner.execute("SELECT count(*) FROM read_markers").fetchone() or (0,)
    assert markers == 1

    owner.execute(
        "UPDATE messages SET created_at = now() - interval '1 day', expires_at = now() WHERE uuid = %s", [message]
    )
    purge(owner)

    assert owner.execute("SELECT handle FROM users").fetchall() == [("partner",)]
    for table in ("message_groups", "messages", "last_messages", "read_markers"):
        assert owner.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(table))).fetchall() == [], table


def test_purge_works_in_bounded_batches(ask: Ask, make: Make, owner: Connection, andrew: User) -> None:
    other = make.user()
    root = make.activity(other)
    for _ in range(25):
        make.activity(andrew, reply_to=root)
    make.owner.cursor().executemany(
        "INSERT INTO idempotency_keys VALUES (%s, %s, '', gen_random_uuid())",
        [(andrew.uuid, str(n)) for n in range(25)],
    )
    ask(andrew)

    rows = owner.execute("SELECT ended FROM purge(10)").fetchall()

    assert 0 < rows[0][0] <= 15
    assert owner.execute("SELECT count(*) FROM idempotency_keys").fetchone() != (0,)
    purge(owner)
    assert owner.execute("SELECT replies_count FROM activities").fetchall() == [(0,)]
    assert owner.execute("SELECT FROM idempotency_keys").fetchall() == []


# After timeouts of statements a batch has no more rows.
SMALLEST_BATCH = 10


def test_small_batch_finishes_no_deletion_with_rows(make: Make, owner: Connection) -> None:
    partner = make.user("partner")
    leavers = [make.user() for _ in range(SMALLEST_BATCH + 1)]
    # The user's row stays for the partner. Nothing else deletes the last user's like and follow.
    make.conversation(leavers[-1], partner, "hello")
    make.like(make.activity(partner), leavers[-1])
    make.follow(leavers[-1], partner)
    for leaver in leavers:
        request_and_confirm(owner, leaver)
    owner.execute("UPDATE deletions SET confirmed_at = confirmed_at - interval '71 seconds'")

    while owner.execute("SELECT ended FROM purge(%s)", [SMALLEST_BATCH]).fetchone() != (0,):
        pass

    assert [row[3] for row in deletions(owner)] == [True] * len(leavers)
    assert owner.execute("SELECT FROM likes UNION ALL SELECT FROM follows").fetchall() == []
    assert make.miscounted() == []
    assert make.miscounted_follows() == []


def test_small_batch_confirms_many_interrupted_deletions(make: Make, owner: Connection) -> None:
    for _ in range(2 * SMALLEST_BATCH + 1):
        owner.execute("SELECT request_deletion(%s, '1 day', gen_random_uuid())", [make.user().cognito_user_id])
    owner.execute("UPDATE deletions SET requested_at = requested_at - interval '61 seconds'")

    confirmed = []
    for _ in range(3):
        owner.execute("SELECT FROM purge(%s)", [SMALLEST_BATCH])
        confirmed.append(sum(row[2] for row in deletions(owner)))

    assert confirmed == [10, 20, 21]


def test_finished_deletion_goes_when_backups_have_gone(ask: Ask, andrew: User, owner: Connection) -> None:
    ask(andrew)
    owner.execute("UPDATE deletions SET expires_at = now()")
    purge(owner, age="0 s")
    assert len(deletions(owner)) == 1

    purge(owner)
    purge(owner)

    assert deletions(owner) == []


# Columns that may hold a user's uuid: a step of the purge handles each, or there is a reason.
COLUMNS = {
    "users.uuid": "the row",
    "deletions.user_uuid": "null at the end",
    "activities.uuid": "not a user",
    "activities.user_uuid": "the activities end, and the purge deletes them",
    "activities.reply_to_activity_uuid": "not a user",
    "activities.reply_to_user_uuid": "the replies end with the activity",
    "activities.mentions": "a step",
    "likes.activity_uuid": "not a user",
    "likes.user_uuid": "a step",
    "likes.author_uuid": "they go with the activity",
    "reposts.activity_uuid": "not a user",
    "reposts.user_uuid": "a step",
    "reposts.author_uuid": "they go with the activity",
    "follows.follower_uuid": "a step",
    "follows.followed_uuid": "a step",
    "follow_counts.user_uuid": "the last step",
    "mutes.muter_uuid": "a step",
    "mutes.muted_uuid": "a step",
    "blocks.blocker_uuid": "a step",
    "blocks.blocked_uuid": "a step",
    "mentionings.activity_uuid": "not a user",
    "mentionings.user_uuid": "a step",
    "read_markers.user_uuid": "a step",
    "taggings.activity_uuid": "not a user",
    "taggings.user_uuid": "they go with the activity",
    "reports.uuid": "not a user",
    "reports.reporter_uuid": "a step",
    "reports.reported_uuid": "a step",
    "reports.activity_uuid": "not a user",
    "reports.evidence": "stays until the report expires",
    "idempotency_keys.user_uuid": "a step",
    "idempotency_keys.made": "not a user",
    "deletions.request": "not a user",
    "message_groups.uuid": "a hash of the two members, and stays with the conversation",
    "message_groups.lesser_user_uuid": "stays with the conversation",
    "message_groups.greater_user_uuid": "stays with the conversation",
    "messages.uuid": "not a user",
    "messages.message_group_uuid": "not a user",
    "messages.user_uuid": "stays with the conversation",
    "last_messages.message_uuid": "not a user",
    "last_messages.message_group_uuid": "not a user",
    "last_messages.lesser_user_uuid": "stays with the conversation",
    "last_messages.greater_user_uuid": "stays with the conversation",
    "unfinished_threads.activity_uuid": "not a user",
}
CATALOG = """
    SELECT pg_class.relname || '.' || pg_attribute.attname
    FROM pg_attribute
    JOIN pg_class ON pg_class.oid = pg_attribute.attrelid
    WHERE
        pg_class.relnamespace = 'public'::regnamespace
        AND pg_class.relkind = 'r'
        AND pg_attribute.attnum > 0
        AND NOT pg_attribute.attisdropped
        AND (
            pg_attribute.atttypid IN ('uuid'::regtype, 'uuid[]'::regtype, 'jsonb'::regtype, 'json'::regtype)
            OR EXISTS (
                SELECT FROM pg_constraint
                WHERE
                    pg_constraint.conrelid = pg_class.oid
                    AND pg_constraint.confrelid = 'users'::regclass
                    AND pg_attribute.attnum = ANY (pg_constraint.conkey)
            )
        )
"""


def test_purge_handles_each_column_that_may_name_a_user(owner: Connection) -> None:
    assert {column for (column,) in owner.execute(CATALOG)} == COLUMNS.keys()
    # A step names its table and its column.
    (source,) = owner.execute("SELECT prosrc FROM pg_proc WHERE proname = 'purge_deletions'").fetchone() or ("",)
    for name in (name for name, reason in COLUMNS.items() if reason == "a step"):
        table, column = name.split(".")
        assert f"public.{table} WHERE {column} = $1" in source or name == "activities.mentions"


@pytest.mark.parametrize("username", ["deleted_1a2b3c4d", "Deleted_me", "DELETED_", "deleted"])
def test_new_user_gets_no_handle_of_deleted_users(
    app: Flask, owner: Connection, cognito: FakeCognito, make: Make, username: str
) -> None:
    make.user("deleted")
    cognito.people["new"] = {"preferred_username": username}

    response = app.test_client().get("/api/users/me", headers=bearer("new"))

    assert response.status_code == 200
    assert not response.json["handle"].lower().startswith("deleted_")
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute("UPDATE users SET handle = 'Deleted_x'")


def test_development_keys_need_no_pool() -> None:
    pool = tokens.user_pool()
    development = type(pool)(
        issuer="https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_development",
        client_id=pool.client_id,
        jwks_url=pool.jwks_url,
        endpoint=tokens.CLOSED,
    )

    assert Cognito(development).delete_user(cognito_module.Token("", "sub", None)) == "deleted"
