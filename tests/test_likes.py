"""Likes: PUT and DELETE of an activity's `like`, the two lists, and `liked` for an authenticated reader."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from harness.waiting import wait_until
from tests.conftest import SignIn, links, walk
from tests.factories import Activity, Make, User
from tests.processes import waits
from tests.tokens import bearer

LIKED = "/api/activities/liked"
THREADS = 16


def like_path(activity: Activity) -> str:
    """Return the path of the current user's like of an activity."""
    return f"/api/activities/{activity.uuid}/like"


def likes_path(activity: Activity) -> str:
    """Return the path of the users who like an activity."""
    return f"/api/activities/{activity.uuid}/likes"


def shown(activity: dict[str, Any]) -> tuple[str, int, bool]:
    """Return an activity's message, and what its JSON tells of likes."""
    return activity["message"], activity["likes_count"], activity["liked"]


@pytest.mark.usefixtures("bystander")
def test_like_and_unlike_return_the_activity_and_are_idempotent(sign_in: SignIn, make: Make) -> None:
    author, reader = make.user("author", display_name="Author"), make.user("reader")
    activity = make.activity(author, "likeable")
    client = sign_in(reader)

    for _ in range(2):
        response = client.put(like_path(activity))
        assert (response.status_code, shown(response.json)) == (200, ("likeable", 1, True))
        assert (response.json["uuid"], response.json["handle"]) == (str(activity.uuid), "author")
        assert response.headers["Cache-Control"] == "private, no-store"
    # An author may like an own activity, and a body is ignored.
    own = sign_in(author).put(like_path(activity), json={"message": "ignored"})
    assert shown(own.json) == ("likeable", 2, True)

    for _ in range(2):
        response = client.delete(like_path(activity))
        assert (response.status_code, shown(response.json)) == (200, ("likeable", 1, False))
    assert make.likes(activity) == [author.uuid]
    assert make.miscounted() == []


@pytest.mark.usefixtures("bystander")
def test_reply_can_be_liked(sign_in: SignIn, make: Make) -> None:
    author, reader = make.user(), make.user()
    reply = make.activity(author, "a reply", reply_to=make.activity(reader))

    assert shown(sign_in(reader).put(like_path(reply)).json) == ("a reply", 1, True)
    assert [shown(each) for each in sign_in(reader).get(LIKED).json] == [("a reply", 1, True)]


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_expired_or_unknown_activity_is_not_found(sign_in: SignIn, make: Make, method: str) -> None:
    author, reader = make.user(), make.user()
    expired, unknown = make.activity(author, ttl="1 hour"), Activity(uuid4(), "", author)
    make.like(expired, author)
    if method == "DELETE":
        make.like(expired, reader)
    before = sorted(make.likes(expired))
    make.expire(expired)
    client = sign_in(reader)

    for activity in (expired, unknown):
        response = client.open(like_path(activity), method=method)
        assert (response.status_code, response.json) == (404, ["not_found"])
        listing = client.get(likes_path(activity))
        assert (listing.status_code, listing.json) == (404, ["not_found"])
    assert client.open("/api/activities/no-uuid/like", method=method).status_code == 404
    assert client.get(LIKED).json == []
    assert sorted(make.likes(expired)) == before


@pytest.mark.usefixtures("bystander")
def test_like_that_waits_for_a_deletion_is_not_found(sign_in: SignIn, make: Make, owner_url: str) -> None:
    author, reader = make.user("author"), make.user("reader")
    activity = make.activity(author)
    with psycopg.connect(owner_url) as deletion, ThreadPoolExecutor(1) as pool:
        deletion.execute("SELECT end_activity(%s, %s)", [activity.uuid, author.uuid])
        request = pool.submit(sign_in(reader).put, like_path(activity))
        wait_until(lambda: waits(owner_url))
        deletion.commit()

        assert (request.result().status_code, request.result().json) == (404, ["not_found"])
    assert make.likes(activity) == []


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_write_that_waits_for_the_purge_is_not_found_and_no_deadlock(
    sign_in: SignIn, make: Make, owner_url: str, method: str
) -> None:
    reader = make.user()
    activity = make.activity(reader)
    make.like(activity, make.user(), *([reader] if method == "DELETE" else []))
    with psycopg.connect(owner_url) as purge, ThreadPoolExecutor(1) as pool:
        # The purge locks the row first, as here, and then deletes the activity and its likes.
        purge.execute("SELECT FROM activities WHERE uuid = %s FOR UPDATE", [activity.uuid])
        request = pool.submit(sign_in(reader).open, like_path(activity), method=method)
        wait_until(lambda: waits(owner_url))
        purge.execute("DELETE FROM activities WHERE uuid = %s", [activity.uuid])
        purge.commit()

        assert (request.result().status_code, request.result().json) == (404, ["not_found"])
    assert make.likes(activity) == []


@pytest.mark.usefixtures("bystander")
def test_likes_lists_users_newest_like_first(client: FlaskClient, make: Make) -> None:
    users = [make.user(display_name=f"User {number}") for number in range(5)]
    activity = make.activity(users[0])
    for number, user in enumerate(users):
        make.like(activity, user, age=f"{number} minutes")
    expected = [{"uuid": str(user.uuid), "handle": user.handle, "display_name": user.display_name} for user in users]

    first = client.get(likes_path(activity), query_string={"limit": 2})

    assert first.json == expected[:2]
    assert first.headers["Cache-Control"] == "no-cache"
    assert walk(client, first, "next") == expected
    assert client.get(likes_path(make.activity(users[0]))).json == []


def test_liked_lists_own_live_activities_last_liked_first(sign_in: SignIn, make: Make, bystander: User) -> None:
    author, reader = make.user("author"), make.user("reader")
    # The oldest activity has the newest like.
    activities = [make.activity(author, f"activity {number}", age=f"{5 - number} hours") for number in range(5)]
    for number, activity in enumerate(activities):
        make.like(activity, reader, author, age=f"{number} minutes")
    ended = make.activity(author, "ended")
    make.like(ended, reader)
    make.expire(ended)
    client = sign_in(reader)

    rows = walk(client, client.get(LIKED, query_string={"limit": 2}), "next")

    assert [shown(row) for row in rows] == [(f"activity {number}", 2, True) for number in range(5)]
    assert {row["handle"] for row in rows} == {"author"}
    # The time is the activity's, and not the like's.
    assert rows[0]["created_at"] < rows[-1]["created_at"]
    assert [row["message"] for row in sign_in(bystander).get(LIKED).json] == ["a bystander's"]


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("relation", ["next", "prev"])
@pytest.mark.parametrize("kind", ["likes", "liked"])
def test_list_has_each_row_once_while_likes_come_and_go(sign_in: SignIn, make: Make, kind: str, relation: str) -> None:
    reader = make.user()
    target, client = make.activity(reader, "the target"), sign_in(reader)
    path = likes_path(target) if kind == "likes" else LIKED

    def add(age: str) -> User:
        user = make.user()
        make.like(target, user, age=age)
        make.like(make.activity(user), reader, age=age)
        return user

    # Two likes each at the same time.
    for number in range(8):
        add(f"{number // 2} hours")
    expected = [row["uuid"] for row in client.get(path).json]
    page = client.get(path, query_string={"limit": 2})
    while relation == "prev" and "next" in links(page):
        page = client.get(links(page)["next"])

    rows: list[str] = []
    while True:
        rows += [row["uuid"] for row in (page.json if relation == "next" else reversed(page.json))]
        if relation not in links(page):
            break
        # Likes come at both ends of the list and in the middle of it, and one of them goes again with its user.
        add("1 week")
        add("90 minutes")
        make.owner.execute("DELETE FROM users WHERE uuid = %s", [add("1 s").uuid])
        page = client.get(links(page)[relation])

    assert len(expected) == 8
    seen = [uuid for uuid in rows if uuid in expected]
    assert seen == (expected if relation == "next" else expected[::-1])
    assert len(set(rows)) == len(rows)


@pytest.mark.usefixtures("bystander")
def test_deleting_the_last_row_of_a_page_keeps_its_cursor(sign_in: SignIn, make: Make) -> None:
    reader = make.user()
    activities = [make.activity(reader, f"activity {number}") for number in range(4)]
    for number, activity in enumerate(activities):
        make.like(activity, reader, age=f"{number} minutes")
    client = sign_in(reader)
    first = client.get(LIKED, query_string={"limit": 2})

    assert client.delete(like_path(activities[1])).status_code == 200

    assert [row["message"] for row in client.get(links(first)["next"]).json] == ["activity 2", "activity 3"]


FEEDS: dict[str, tuple[str, Callable[[Any], list[dict[str, Any]]]]] = {
    "home": ("/api/activities/home", lambda body: body),
    "home, not from the cache": ("/api/activities/home?limit=50", lambda body: body),
    "profile": ("/api/activities/@author", lambda body: body["activities"]),
    "thread": ("/api/activities/@author/status/{root}", lambda body: [body["activity"], *body["replies"]]),
    "search": ("/api/activities/search?term=quokka", lambda body: body),
    "search of a full page": ("/api/activities/search?term=quokka&limit=1", lambda body: body),
    "search without an index": ("/api/activities/search?term=qu", lambda body: body),
}


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("feed", FEEDS)
def test_only_an_authenticated_reader_gets_liked(sign_in: SignIn, client: FlaskClient, make: Make, feed: str) -> None:
    author, reader = make.user("author"), make.user("reader")
    root = make.activity(author, "a quokka")
    liked_reply = make.activity(author, "a quokka's reply", reply_to=root)
    make.activity(reader, "another quokka's reply", reply_to=root)
    others = make.activity(author, "another quokka", age="1 minute")
    make.like(root, reader)
    make.like(liked_reply, reader, author)
    make.like(others, author)
    path, activities = FEEDS[feed]
    path = path.format(root=root.uuid)

    # Twice, so that neither response comes from a cache that the other filled.
    for _ in range(2):
        theirs = [each for each in activities(sign_in(reader).get(path).json) if "quokka" in each["message"]]
        assert theirs
        for activity in theirs:
            assert activity["liked"] is (activity["message"] in {"a quokka", "a quokka's reply"})
            assert list(activity)[-2:] == ["created_at", "liked"]
        anonymous = [each for each in activities(client.get(path).json) if "quokka" in each["message"]]
        assert anonymous == [{key: value for key, value in each.items() if key != "liked"} for each in theirs]
    assert "Authorization" in client.get(path).headers.getlist("Vary")
    assert client.get(path).headers["Cache-Control"] == "no-cache"
    assert "Authorization" in sign_in(reader).get(path).headers.getlist("Vary")
    assert sign_in(reader).get(path).headers["Cache-Control"] == "private, no-store"
    # The two have different bodies, so a client cannot revalidate one by the other.
    tag = client.get(path).headers["ETag"]
    assert sign_in(reader).get(path, headers={"If-None-Match": tag}).status_code == 200


def test_token_without_a_row_in_users_likes_nothing(app: Flask, make: Make) -> None:
    make.like(make.activity(make.user()), make.user())

    response = app.test_client().get("/api/activities/home", headers=bearer("newcomer"))

    assert [activity["liked"] for activity in response.json] == [False]
    assert make.owner.execute("SELECT count(*) FROM users").fetchone() == (2,)


@pytest.mark.usefixtures("bystander")
def test_notifications_new_activities_and_replays_have_liked(sign_in: SignIn, make: Make) -> None:
    author, reader = make.user("author"), make.user("reader")
    root = make.activity(reader)
    make.like(make.activity(author, "first", reply_to=root, age="1 minute"), reader)
    make.activity(author, "second", reply_to=root)
    client = sign_in(reader)

    notifications = client.get("/api/activities/notifications").json
    assert [(each["message"], each["liked"]) for each in notifications] == [("second", False), ("first", True)]
    for path in ("/api/activities", f"/api/activities/{root.uuid}/reply"):
        request = {"json": {"message": "hello", "ttl": "1-hour"}, "headers": {"Idempotency-Key": path}}
        created = client.post(path, **request)
        assert (created.status_code, created.json["liked"]) == (200, False)
        client.put(f"/api/activities/{created.json['uuid']}/like")
        replayed = client.post(path, **request)
        assert replayed.headers["Idempotency-Replayed"] == "true"
        assert replayed.json == created.json | {"likes_count": 1, "liked": True}


def test_likes_end_with_their_activity_and_with_their_user(sign_in: SignIn, make: Make, bystander: User) -> None:
    author, reader = make.user("author"), make.user("reader")
    gone, stays = make.activity(author, "gone"), make.activity(author, "stays")
    reply = make.activity(reader, "gone too", reply_to=gone)
    for activity in (gone, stays, reply):
        make.like(activity, reader, author)

    assert sign_in(author).delete(f"/api/activities/{gone.uuid}").status_code == 200
    assert [each["message"] for each in sign_in(reader).get(LIKED).json] == ["stays"]
    make.owner.execute("SELECT purge(1000)")
    assert make.likes(gone) == make.likes(reply) == []

    make.owner.execute("DELETE FROM users WHERE uuid = %s", [reader.uuid])
    assert [each["likes_count"] for each in sign_in(author).get(LIKED).json] == [1]
    assert [each["likes_count"] for each in sign_in(bystander).get(LIKED).json] == [2]
    assert make.miscounted() == []


@pytest.mark.usefixtures("bystander")
def test_concurrent_likes_and_unlikes_are_counted_exactly(app: Flask, make: Make) -> None:
    # Each user sends from several threads at the same moment.
    users = [make.user() for _ in range(8)]
    activities = [make.activity(users[0], f"activity {number}") for number in range(3)]
    calls = [
        (user, activity, method)
        for user in users
        for activity in activities
        for method in ("PUT", "DELETE", "PUT", "DELETE", "PUT")
    ]
    random.Random(4567).shuffle(calls)

    def call(user: User, activity: Activity, method: str) -> tuple[int, bool]:
        headers = bearer(user.cognito_user_id)
        response = app.test_client().open(like_path(activity), method=method, headers=headers)
        return response.status_code, response.json["liked"] is (method == "PUT")

    with ThreadPoolExecutor(THREADS) as pool:
        results = set(pool.map(lambda each: call(*each), calls))

    assert results == {(HTTPStatus.OK, True)}
    assert make.miscounted() == []
