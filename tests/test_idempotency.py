"""Idempotency keys: POST requests that clients may repeat, with the `Idempotency-Key` header."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient
from psycopg import Connection
from werkzeug.test import TestResponse

from lib.pool import THREADS
from tests.conftest import SignIn
from tests.factories import Activity, Make, User

REPLAYED = "Idempotency-Replayed"
ACTIVITY = {"message": "hello", "ttl": "1-day"}


@pytest.fixture
def lin(make: Make) -> User:
    """Create the user who sends the requests."""
    return make.user("LinYue", display_name="Lin")


def post(client: FlaskClient, key: str, body: dict[str, Any], path: str = "/api/activities") -> TestResponse:
    """Send a POST with a key."""
    return client.post(path, json=body, headers={"Idempotency-Key": key})


class Write(NamedTuple):
    """A POST, and the query that counts its rows."""

    path: str
    body: dict[str, Any]
    counting: str


ACTIVITIES = "SELECT count(*) FROM activities"
MESSAGES = "SELECT count(*) FROM messages"


def activity(_: Make, __: User) -> Write:
    """Return the creation of an activity."""
    return Write("/api/activities", ACTIVITY, ACTIVITIES)


def reply(make: Make, _: User) -> Write:
    """Return the creation of a reply."""
    question = make.activity(make.user())
    return Write(f"/api/activities/{question.uuid}/reply", {"message": "because"}, ACTIVITIES)


def message(make: Make, lin: User) -> Write:
    """Return a message to an existing conversation."""
    group = make.conversation(lin, make.user(), "hello")
    return Write("/api/messages", {"message": "again", "message_group_uuid": str(group)}, MESSAGES)


def first_message(make: Make, _: User) -> Write:
    """Return a first message to a handle."""
    return Write("/api/messages", {"message": "hello", "handle": make.user().handle}, MESSAGES)


def profile(_: Make, __: User) -> Write:
    """Return a change of the display name."""
    return Write("/api/profile/update", {"display_name": "Lin Yue"}, "SELECT count(*) FROM users")


def report(make: Make, _: User) -> Write:
    """Return a report of a user."""
    return Write("/api/reports", {"handle": make.user().handle, "category": "spam"}, "SELECT count(*) FROM reports")


WAYS: tuple[Callable[[Make, User], Write], ...] = (activity, reply, message, first_message, profile, report)


@pytest.mark.usefixtures("bystander")
def test_replayed_request_returns_the_first_response_and_writes_nothing(
    subtests: pytest.Subtests, sign_in: SignIn, make: Make
) -> None:
    for way in WAYS:
        user = make.user()
        write, client = way(make, user), sign_in(user)
        with subtests.test(way.__name__):
            first = post(client, "key", write.body, write.path)
            count = make.owner.execute(write.counting.encode()).fetchone()

            again = post(client, "key", write.body, write.path)

            assert (first.status_code, REPLAYED in first.headers) == (200, False)
            assert (again.status_code, again.data, again.headers[REPLAYED]) == (200, first.data, "true")
            assert make.owner.execute(write.counting.encode()).fetchone() == count
            # Another key, or no key, makes another request.
            for other in (post(client, "Key", write.body, write.path), client.post(write.path, json=write.body)):
                assert (other.status_code, REPLAYED in other.headers) == (200, False)


@pytest.mark.usefixtures("bystander")
def test_concurrent_requests_with_one_key_write_once(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    for way in WAYS:
        user = make.user()
        write = way(make, user)
        send = partial(post, key="key", body=write.body, path=write.path)
        with subtests.test(way.__name__), ThreadPoolExecutor(THREADS) as pool:
            (before,) = make.owner.execute(write.counting.encode()).fetchone()

            responses = list(pool.map(send, [sign_in(user) for _ in range(32)]))

            assert {(response.status_code, response.data) for response in responses} == {(200, responses[0].data)}
            assert sum(REPLAYED in response.headers for response in responses) == 31
            (after,) = make.owner.execute(write.counting.encode()).fetchone()
            assert after - before == (0 if way is profile else 1)


@pytest.mark.usefixtures("bystander")
def test_key_with_another_body_or_path_is_refused(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    for way in WAYS:
        user = make.user()
        write, client = way(make, user), sign_in(user)
        assert post(client, "key", write.body, write.path).status_code == HTTPStatus.OK

        other_path = "/api/activities" if write.path != "/api/activities" else "/api/messages"
        for path, body in (
            (write.path, {**write.body, "message": "another", "display_name": "Another"}),
            (write.path, {**write.body, "more": 1}),
            (other_path, {**ACTIVITY, "handle": "friend"}),
        ):
            with subtests.test(way.__name__, path=path, body=body):
                response = post(client, "key", body, path)
                assert (response.status_code, response.json) == (422, ["idempotency_key_reused"])
    assert make.owner.execute("SELECT count(*) FROM users WHERE display_name = 'Another'").fetchone() == (0,)
    assert "another" not in make.messages()


@pytest.mark.usefixtures("bystander")
def test_key_with_another_parent_activity_is_refused(sign_in: SignIn, make: Make, lin: User) -> None:
    client, questions = sign_in(lin), [make.activity(make.user()) for _ in range(2)]

    responses = [post(client, "key", {"message": "yes"}, f"/api/activities/{one.uuid}/reply") for one in questions]

    assert [response.status_code for response in responses] == [200, 422]
    assert responses[1].json == ["idempotency_key_reused"]
    assert make.counts()[questions[1].uuid] == 0


@pytest.mark.usefixtures("bystander")
def test_key_belongs_to_one_user(sign_in: SignIn, make: Make, lin: User) -> None:
    responses = [post(sign_in(user), "key", ACTIVITY) for user in (lin, make.user())]

    assert [REPLAYED in response.headers for response in responses] == [False, False]
    assert responses[0].json["uuid"] != responses[1].json["uuid"]


@pytest.mark.usefixtures("bystander")
def test_failed_request_leaves_its_key_unused(sign_in: SignIn, make: Make, lin: User) -> None:
    client, question = sign_in(lin), make.activity(make.user())
    make.owner.execute("UPDATE activities SET expires_at = now() WHERE uuid = %s", [question.uuid])
    path = f"/api/activities/{question.uuid}/reply"

    assert post(client, "key", {"message": ""}, path).status_code == 422
    assert post(client, "key", {"message": "because"}, path).status_code == 404
    response = post(client, "key", ACTIVITY)

    assert (response.status_code, REPLAYED in response.headers) == (200, False)


def expire(make: Make, uuid: object) -> None:
    """Expire an activity."""
    make.owner.execute("UPDATE activities SET expires_at = now() WHERE uuid = %s", [uuid])


@pytest.mark.usefixtures("bystander")
def test_replay_of_an_expired_or_deleted_activity_is_not_found(sign_in: SignIn, make: Make, lin: User) -> None:
    client, question = sign_in(lin), make.activity(make.user())
    reply_path = f"/api/activities/{question.uuid}/reply"
    activity_uuid = post(client, "posted", ACTIVITY).json["uuid"]
    deleted_uuid = post(client, "deleted", ACTIVITY).json["uuid"]
    reply_uuid = post(client, "replied", {"message": "because"}, reply_path).json["uuid"]
    assert client.delete(f"/api/activities/{deleted_uuid}").status_code == 200
    expire(make, activity_uuid)
    expire(make, reply_uuid)

    for key, body, path in (
        *(("posted", ACTIVITY, "/api/activities"), ("deleted", ACTIVITY, "/api/activities")),
        ("replied", {"message": "because"}, reply_path),
    ):
        response = post(client, key, body, path)
        assert (response.status_code, response.json) == (404, ["not_found"])


@pytest.mark.usefixtures("bystander")
def test_replay_of_an_expired_message_is_not_found(
    subtests: pytest.Subtests, sign_in: SignIn, make: Make, lin: User
) -> None:
    client, kofi = sign_in(lin), make.user("kofi")
    group = str(make.conversation(lin, kofi, "hello"))
    for receiver in ({"message_group_uuid": group}, {"handle": "kofi"}):
        with subtests.test(**receiver):
            body = {"message": "it ends", "ttl": "1-hour", **receiver}
            (key,) = receiver
            first = post(client, key, body, "/api/messages")
            again = post(client, key, body, "/api/messages")
            assert (again.status_code, again.data, again.headers[REPLAYED]) == (200, first.data, "true")

            make.owner.execute(
                "UPDATE messages SET expires_at = now() WHERE expires_at IS NOT NULL AND user_uuid = %s", [lin.uuid]
            )

            response = post(client, key, body, "/api/messages")
            assert (response.status_code, response.json) == (404, ["not_found"])
            assert make.owner.execute("SELECT count(*) FROM messages WHERE message = 'it ends'").fetchone()[0] <= 2


@pytest.mark.usefixtures("bystander")
def test_replay_returns_the_current_state(sign_in: SignIn, make: Make, lin: User) -> None:
    created = post(sign_in(lin), "key", ACTIVITY).json
    make.activity(make.user(), reply_to=Activity(created["uuid"], created["message"], lin))

    assert post(sign_in(lin), "key", ACTIVITY).json == {**created, "replies_count": 1}


def age(owner: Connection, user: User, hours: str) -> None:
    """Set the age of a user's keys."""
    owner.execute(
        "UPDATE idempotency_keys SET created_at = now() - %s::interval WHERE user_uuid = %s", [hours, user.uuid]
    )


@pytest.mark.usefixtures("bystander")
def test_key_expires_after_24_hours(sign_in: SignIn, make: Make, lin: User) -> None:
    client = sign_in(lin)
    group = str(make.conversation(lin, make.user(), "hello"))
    first = post(client, "key", {"display_name": "Lin Yue"}, "/api/profile/update")
    age(make.owner, lin, "23:59:50")
    assert REPLAYED in post(client, "key", {"display_name": "Lin Yue"}, "/api/profile/update").headers
    age(make.owner, lin, "24:00")

    again = post(client, "key", {"message": "again", "message_group_uuid": group}, "/api/messages")

    assert (first.status_code, again.status_code, REPLAYED in again.headers) == (200, 200, False)
    assert REPLAYED in post(client, "key", {"message": "again", "message_group_uuid": group}, "/api/messages").headers


@pytest.mark.usefixtures("bystander")
def test_key_may_have_up_to_255_printable_characters(subtests: pytest.Subtests, sign_in: SignIn, lin: User) -> None:
    for key in ("x", " ", "~", '"quoted"', "é".encode().hex(), "k" * 255):
        with subtests.test(key):
            assert [post(sign_in(lin), key, ACTIVITY).headers.get(REPLAYED) for _ in range(2)] == [None, "true"]


@pytest.mark.usefixtures("bystander")
def test_invalid_key_is_refused(subtests: pytest.Subtests, sign_in: SignIn, make: Make, lin: User) -> None:
    client = sign_in(lin)

    for key in ("", "k" * 256, "é", "\x7f", "a\tb", "☁️".encode().decode("latin-1")):
        for path, body in (("/api/activities", ACTIVITY), ("/api/profile/update", {"display_name": "New"})):
            with subtests.test(ascii(key), path=path):
                response = client.post(path, json=body, environ_overrides={"HTTP_IDEMPOTENCY_KEY": key})
                assert (response.status_code, response.json) == (400, ["idempotency_key_invalid"])
    assert make.messages() == []
    assert make.owner.execute("SELECT display_name FROM users WHERE uuid = %s", [lin.uuid]).fetchone() == ("Lin",)


@pytest.mark.usefixtures("bystander")
def test_put_and_delete_ignore_the_key(sign_in: SignIn, lin: User) -> None:
    client, headers = sign_in(lin), {"Idempotency-Key": "key"}

    for name in ("One", "Two"):
        response = client.put("/api/profile/update", json={"display_name": name}, headers=headers)
        assert (response.json["display_name"], REPLAYED in response.headers) == (name, False)


@pytest.mark.usefixtures("bystander")
def test_key_and_write_are_one_transaction(sign_in: SignIn, make: Make, lin: User) -> None:
    make.owner.execute("ALTER TABLE activities ADD CONSTRAINT nothing_goes CHECK (message <> 'hello') NOT VALID")
    assert post(sign_in(lin), "key", ACTIVITY).status_code == 500
    make.owner.execute("ALTER TABLE activities DROP CONSTRAINT nothing_goes")

    response = post(sign_in(lin), "key", ACTIVITY)

    assert (response.status_code, REPLAYED in response.headers) == (200, False)
