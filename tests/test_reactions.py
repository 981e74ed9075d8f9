"""Likes and reposts: PUT and DELETE, the lists of users, and the members of an activity for an authenticated reader."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from harness.waiting import wait_until
from lib.pool import THREADS
from tests.conftest import SignIn, links, rows_of, walk
from tests.factories import Activity, Make, User
from tests.processes import waits
from tests.reactions import LIKE, LIKED, REACTIONS, Reaction
from tests.tokens import bearer

CALLERS = 16
METHODS = ("PUT", "DELETE")


@pytest.mark.usefixtures("bystander")
def test_write_returns_the_activity_and_is_idempotent(sign_in: SignIn, make: Make, subtests: pytest.Subtests) -> None:
    author, reader = make.user("author", display_name="Author"), make.user("reader")
    client = sign_in(reader)
    for reaction in REACTIONS:
        with subtests.test(reaction.word):
            activity = make.activity(author, "likeable")

            for _ in range(2):
                response = client.put(reaction.path(activity))
                assert (response.status_code, reaction.shown(response.json)) == (200, ("likeable", 1, True))
                assert (response.json["uuid"], response.json["handle"]) == (str(activity.uuid), "author")
                assert response.headers["Cache-Control"] == "private, no-store"
            # An author may react to an own activity, and a body is ignored.
            own = sign_in(author).put(reaction.path(activity), json={"message": "ignored"})
            assert reaction.shown(own.json) == ("likeable", 2, True)
            # One reaction is not the other.
            (other,) = set(REACTIONS) - {reaction}
            assert other.shown(own.json) == ("likeable", 0, False)

            for _ in range(2):
                response = client.delete(reaction.path(activity))
                assert (response.status_code, reaction.shown(response.json)) == (200, ("likeable", 1, False))
            assert make.reactions(reaction.table, activity) == [author.uuid]
            assert make.miscounted() == []
            reply = make.activity(author, "a reply", reply_to=activity)
            assert reaction.shown(client.put(reaction.path(reply)).json) == ("a reply", 1, True)


@pytest.mark.usefixtures("bystander")
def test_expired_or_unknown_activity_is_not_found(sign_in: SignIn, make: Make, subtests: pytest.Subtests) -> None:
    author, reader = make.user("author"), make.user()
    client = sign_in(reader)
    for reaction in REACTIONS:
        for method in METHODS:
            with subtests.test(reaction.word, method=method):
                expired, unknown = make.activity(author, ttl="1 hour"), Activity(uuid4(), "", author)
                make.react(reaction.table, expired, author, *([reader] if method == "DELETE" else []))
                before = make.reactions(reaction.table, expired)
                make.expire(expired)

                for activity in (expired, unknown):
                    response = client.open(reaction.path(activity), method=method)
                    assert (response.status_code, response.json) == (404, ["not_found"])
                    listing = client.get(reaction.users_path(activity))
                    assert (listing.status_code, listing.json) == (404, ["not_found"])
                assert client.open(f"/api/activities/no-uuid/{reaction.word}", method=method).status_code == 404
                assert reaction is not LIKE or client.get(LIKED).json == []
                assert rows_of(client.get("/api/activities/@author?reposts=true")) == []
                assert make.reactions(reaction.table, expired) == before


@pytest.mark.usefixtures("bystander")
def test_write_that_waits_for_a_deletion_is_not_found(
    sign_in: SignIn, make: Make, owner_url: str, subtests: pytest.Subtests
) -> None:
    author, reader = make.user("author"), make.user("reader")
    for reaction in REACTIONS:
        activity = make.activity(author)
        with (
            subtests.test(reaction.word),
            psycopg.connect(owner_url) as deletion,
            ThreadPoolExecutor(1) as pool,
        ):
            deletion.execute("SELECT end_activity(%s, %s)", [activity.uuid, author.uuid])
            request = pool.submit(sign_in(reader).put, reaction.path(activity))
            wait_until(lambda: waits(owner_url))
            deletion.commit()

            assert (request.result().status_code, request.result().json) == (404, ["not_found"])
            assert make.reactions(reaction.table, activity) == []


@pytest.mark.usefixtures("bystander")
def test_write_that_waits_for_the_purge_is_not_found_and_no_deadlock(
    sign_in: SignIn, make: Make, owner_url: str, subtests: pytest.Subtests
) -> None:
    reader, other = make.user(), make.user()
    for reaction in REACTIONS:
        for method in METHODS:
            activity = make.activity(reader)
            make.react(reaction.table, activity, other, *([reader] if method == "DELETE" else []))
            with (
                subtests.test(reaction.word, method=method),
                psycopg.connect(owner_url) as purge,
                ThreadPoolExecutor(1) as pool,
            ):
                # The purge locks the row first, as here, and then deletes the activity and its likes and reposts.
                purge.execute("SELECT FROM activities WHERE uuid = %s FOR UPDATE", [activity.uuid])
                request = pool.submit(sign_in(reader).open, reaction.path(activity), method=method)
                wait_until(lambda: waits(owner_url))
                purge.execute("DELETE FROM activities WHERE uuid = %s", [activity.uuid])
                purge.commit()

                assert (request.result().status_code, request.result().json) == (404, ["not_found"])
                assert make.reactions(reaction.table, activity) == []


@pytest.mark.usefixtures("bystander")
def test_users_are_listed_newest_first(client: FlaskClient, make: Make, subtests: pytest.Subtests) -> None:
    users = [make.user(display_name=f"User {number}") for number in range(5)]
    activity = make.activity(users[0])
    for reaction in REACTIONS:
        with subtests.test(reaction.word):
            users.reverse()
            for number, user in enumerate(users):
                make.react(reaction.table, activity, user, age=f"{number} minutes")
            expected = [
                {"uuid": str(user.uuid), "handle": user.handle, "display_name": user.display_name} for user in users
            ]

            first = client.get(reaction.users_path(activity), query_string={"limit": 2})

            assert first.json == expected[:2]
            assert first.headers["Cache-Control"] == "no-cache"
            assert walk(client, first, "next") == expected
            assert client.get(reaction.users_path(make.activity(users[0]))).json == []


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("relation", ["next", "prev"])
def test_list_has_each_row_once_while_rows_come_and_go(
    sign_in: SignIn, make: Make, subtests: pytest.Subtests, relation: str
) -> None:
    reader = make.user("reader")
    target, client = make.activity(reader, "the target", age="1 day"), sign_in(reader)

    def add(age: str) -> User:
        user = make.user()
        added.append(user.uuid)
        for reaction in REACTIONS:
            make.react(reaction.table, target, user, age=age)
            make.react(reaction.table, make.activity(user, age="1 day"), reader, age=age)
        return user

    added: list[UUID] = []
    # Two rows each at the same time.
    for number in range(8):
        add(f"{number // 2} hours")
    # Only the last one knows the parameter.
    lists = [*(reaction.users_path(target) for reaction in REACTIONS), LIKED, "/api/activities/@reader"]
    for path in lists:
        with subtests.test(path):
            added.clear()
            expected = [
                row["uuid"] for row in rows_of(client.get(path, query_string={"reposts": "true", "limit": 100}))
            ]
            page = client.get(path, query_string={"reposts": "true", "limit": 2})
            while relation == "prev" and "next" in links(page):
                page = client.get(links(page)["next"])

            rows: list[str] = []
            while True:
                shown = [row["uuid"] for row in rows_of(page)]
                rows += shown if relation == "next" else reversed(shown)
                if relation not in links(page):
                    break
                # Rows come at both ends of the list and in the middle of it, and one of them goes again with its user.
                add("1 week")
                add("90 minutes")
                make.owner.execute("DELETE FROM users WHERE uuid = %s", [add("1 s").uuid])
                page = client.get(links(page)[relation])

            assert len(expected) >= 8
            seen = [uuid for uuid in rows if uuid in expected]
            assert seen == (expected if relation == "next" else expected[::-1])
            assert len(set(rows)) == len(rows)
            # The next list begins with the same rows.
            make.owner.execute("DELETE FROM users WHERE uuid = ANY (%s)", [added])


FEEDS: dict[str, tuple[str, Callable[[Any], list[dict[str, Any]]]]] = {
    "home": ("/api/activities/home", lambda body: body),
    "home, not from the cache": ("/api/activities/home?limit=50", lambda body: body),
    "profile": ("/api/activities/@author", lambda body: body["activities"]),
    "profile with reposts": ("/api/activities/@author?reposts=true", lambda body: body["activities"]),
    "thread": ("/api/activities/@author/status/{root}", lambda body: [body["activity"], *body["replies"]]),
    "search": ("/api/activities/search?term=quokka", lambda body: body),
    "search of a full page": ("/api/activities/search?term=quokka&limit=1", lambda body: body),
    "search without an index": ("/api/activities/search?term=qu", lambda body: body),
}


@pytest.mark.usefixtures("bystander")
def test_only_an_authenticated_reader_gets_liked_and_reposted(
    sign_in: SignIn, client: FlaskClient, make: Make, subtests: pytest.Subtests
) -> None:
    author, reader = make.user("author"), make.user("reader")
    root = make.activity(author, "a quokka")
    reply = make.activity(author, "a quokka's reply", reply_to=root)
    make.activity(reader, "another quokka's reply", reply_to=root)
    others = make.activity(author, "another quokka", age="1 minute")
    make.like(root, reader)
    make.like(reply, reader, author)
    make.like(others, author)
    make.repost(others, reader)
    make.repost(reply, reader, author)
    make.repost(root, author)
    expected = {"a quokka": (True, False), "a quokka's reply": (True, True), "another quokka": (False, True)}

    for feed, (template, activities) in FEEDS.items():
        path = template.format(root=root.uuid)
        with subtests.test(feed):
            # Twice, so that neither response comes from a cache that the other filled.
            for _ in range(2):
                theirs = [each for each in activities(sign_in(reader).get(path).json) if "quokka" in each["message"]]
                assert theirs
                for activity in theirs:
                    assert (activity["liked"], activity["reposted"]) == expected.get(
                        activity["message"], (False, False)
                    )
                    names = [name for name in activity if name != "reposted_by"]
                    assert names[-3:] == ["created_at", "liked", "reposted"]
                anonymous = [each for each in activities(client.get(path).json) if "quokka" in each["message"]]
                assert anonymous == [
                    {key: value for key, value in each.items() if key not in {"liked", "reposted"}} for each in theirs
                ]
            assert "Authorization" in client.get(path).headers.getlist("Vary")
            assert client.get(path).headers["Cache-Control"] == "no-cache"
            assert "Authorization" in sign_in(reader).get(path).headers.getlist("Vary")
            assert sign_in(reader).get(path).headers["Cache-Control"] == "private, no-store"
            # The two have different bodies, so a client cannot revalidate one by the other.
            tag = client.get(path).headers["ETag"]
            assert sign_in(reader).get(path, headers={"If-None-Match": tag}).status_code == 200


def test_token_without_a_row_in_users_likes_and_reposts_nothing(app: Flask, make: Make) -> None:
    activity = make.activity(make.user())
    for reaction in REACTIONS:
        make.react(reaction.table, activity, make.user())

    response = app.test_client().get("/api/activities/home", headers=bearer("newcomer"))

    assert [(activity["liked"], activity["reposted"]) for activity in response.json] == [(False, False)]
    assert make.owner.execute("SELECT count(*) FROM users").fetchone() == (3,)


@pytest.mark.usefixtures("bystander")
def test_notifications_new_activities_and_replays_have_the_members(sign_in: SignIn, make: Make) -> None:
    author, reader = make.user("author"), make.user("reader")
    root = make.activity(reader)
    first = make.activity(author, "first", reply_to=root, age="1 minute")
    make.like(first, reader)
    make.repost(make.activity(author, "second", reply_to=root), reader)
    client = sign_in(reader)

    notifications = client.get("/api/activities/notifications").json
    assert [(each["message"], each["liked"], each["reposted"]) for each in notifications] == [
        ("second", False, True),
        ("first", True, False),
    ]
    for path in ("/api/activities", f"/api/activities/{root.uuid}/reply"):
        request = {"json": {"message": "hello", "ttl": "1-hour"}, "headers": {"Idempotency-Key": path}}
        created = client.post(path, **request)
        assert (created.status_code, created.json["liked"], created.json["reposted"]) == (200, False, False)
        for reaction in REACTIONS:
            client.put(f"/api/activities/{created.json['uuid']}/{reaction.word}")
        replayed = client.post(path, **request)
        assert replayed.headers["Idempotency-Replayed"] == "true"
        now = {"likes_count": 1, "reposts_count": 1, "liked": True, "reposted": True}
        assert replayed.json == created.json | now


def test_reactions_end_with_their_activity_and_with_their_user(sign_in: SignIn, make: Make, bystander: User) -> None:
    author, reader = make.user("author"), make.user("reader")
    gone, stays = make.activity(author, "gone"), make.activity(author, "stays")
    reply = make.activity(reader, "gone too", reply_to=gone)
    for activity in (gone, stays, reply):
        for reaction in REACTIONS:
            make.react(reaction.table, activity, reader, author)

    assert sign_in(author).delete(f"/api/activities/{gone.uuid}").status_code == 200
    lists = (LIKED, "/api/activities/@reader?reposts=true")
    assert [[each["message"] for each in rows_of(sign_in(reader).get(path))] for path in lists] == [["stays"]] * 2
    make.owner.execute("SELECT purge(1000)")
    for reaction in REACTIONS:
        for activity in (gone, reply):
            assert make.reactions(reaction.table, activity) == []

    make.owner.execute("DELETE FROM users WHERE uuid = %s", [reader.uuid])
    (stays_now,) = sign_in(author).get(LIKED).json
    assert [reaction.shown(stays_now) for reaction in REACTIONS] == [("stays", 1, True)] * 2
    (others,) = sign_in(bystander).get(LIKED).json
    assert [reaction.shown(others) for reaction in REACTIONS] == [("a bystander's", 2, True)] * 2
    assert make.miscounted() == []


@pytest.mark.usefixtures("bystander")
def test_concurrent_writes_are_counted_exactly(app: Flask, make: Make) -> None:
    # Each user sends from several threads at the same moment.
    users = [make.user() for _ in range(8)]
    activities = [make.activity(users[0], f"activity {number}") for number in range(3)]
    calls = [
        (user, activity, reaction, method)
        for user in users
        for activity in activities
        for reaction in REACTIONS
        for method in ("PUT", "DELETE", "PUT")
    ]
    random.Random(4567).shuffle(calls)

    def call(user: User, activity: Activity, reaction: Reaction, method: str) -> tuple[int, bool]:
        headers = bearer(user.cognito_user_id)
        response = app.test_client().open(reaction.path(activity), method=method, headers=headers)
        return response.status_code, response.json[reaction.member] is (method == "PUT")

    with ThreadPoolExecutor(CALLERS) as pool:
        results = set(pool.map(lambda each: call(*each), calls))

    assert results == {(HTTPStatus.OK, True)}
    assert make.miscounted() == []


CLIENTS, CALLS = 64, 25


@pytest.mark.slow
@pytest.mark.usefixtures("bystander")
def test_writes_of_all_kinds_while_the_purge_runs_have_no_error(app: Flask, make: Make, owner_url: str) -> None:
    users = [make.user() for _ in range(CLIENTS)]
    activities = [make.activity(user) for user in users[:16]]
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = make.owner.execute(deadlocks).fetchone()

    def call_at_random(number: int) -> set[tuple[str, int]]:
        chance, client, results = random.Random(number), app.test_client(), set()
        client.environ_base["HTTP_AUTHORIZATION"] = bearer(users[number].cognito_user_id)["Authorization"]
        for _ in range(CALLS):
            activity = chance.choice(activities)
            kind = chance.choice(("PUT like", "DELETE like", "PUT repost", "DELETE repost", "POST reply", "DELETE"))
            method, _, word = kind.partition(" ")
            path = f"/api/activities/{activity.uuid}" + (f"/{word}" if word else "")
            if kind == "DELETE":
                # A client deletes an own activity, or else an own reply.
                mine = [index for index, each in enumerate(activities) if each.author == users[number]]
                if not mine:
                    continue
                path = f"/api/activities/{activities[mine[0]].uuid}"
            response = client.open(path, method=method, json={"message": "a reply"} if word == "reply" else None)
            results.add((kind, response.status_code))
            if kind == "DELETE":
                created = client.post("/api/activities", json={"message": "hello", "ttl": "1-hour"})
                results.add(("POST", created.status_code))
                activities[mine[0]] = Activity(created.json["uuid"], "hello", users[number])
            elif word == "reply" and response.status_code == HTTPStatus.OK and chance.random() < 0.5:
                ended = client.delete(f"/api/activities/{response.json['uuid']}")
                results.add(("DELETE reply", ended.status_code))
        return results

    # As many at once as the service has threads: each has a connection of the pool then.
    with ThreadPoolExecutor(THREADS) as pool, psycopg.connect(owner_url, autocommit=True) as purge:
        clients = [pool.submit(call_at_random, number) for number in range(CLIENTS)]
        purged = 0
        while not all(each.done() for each in clients):
            row = purge.execute("SELECT activities FROM purge(20)").fetchone()
            purged += row[0] if row else 0
        results = set().union(*(each.result() for each in clients))

    assert {status for _, status in results} == {200, 404}
    assert purged > 0
    assert {kind for kind, status in results if status == HTTPStatus.OK} >= {
        *("PUT like", "DELETE like", "PUT repost", "DELETE repost", "POST reply", "DELETE", "POST", "DELETE reply")
    }
    make.owner.execute("SELECT pg_stat_clear_snapshot()")
    assert make.owner.execute(deadlocks).fetchone() == before
    assert make.miscounted() == []
    replies = """
        SELECT uuid FROM live_activities WHERE replies_count <> (
            SELECT count(*) FROM live_activities AS reply WHERE reply.reply_to_activity_uuid = live_activities.uuid
        )
    """
    assert make.owner.execute(replies).fetchall() == []
