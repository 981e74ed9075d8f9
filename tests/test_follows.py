"""Follows: PUT and DELETE of a user's `follow`, the two lists, relationships, and the personal home."""

import random
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from harness.waiting import wait_until
from lib.cache import MAX_AGE_SECONDS
from tests.clock import Clock
from tests.conftest import SignIn, links, walk
from tests.factories import Make, User
from tests.processes import waits
from tests.tokens import bearer

HOME = "/api/activities/following"
RELATIONSHIPS = "/api/users/relationships"
THREADS = 16
LISTS = ("followers", "following")


def follow_path(user: User) -> str:
    """Return the path of the current user's follow of a user."""
    return f"/api/users/@{user.handle}/follow"


def relationship(user: User, *, following: bool = False, followed_by: bool = False) -> dict[str, Any]:
    """Return the JSON of the relationship to a user."""
    follows = {"following": following, "followed_by": followed_by}
    return {"uuid": str(user.uuid), "handle": user.handle, **follows, "muting": False, "blocking": False}


def messages(client: FlaskClient, path: str = HOME) -> list[str]:
    """Return the messages on a page of the personal home."""
    return [activity["message"] for activity in client.get(path).json]


def counts(client: FlaskClient, user: User) -> tuple[int, int]:
    """Return the numbers of followers and of followed users in a profile."""
    profile = client.get(f"/api/activities/@{user.handle}").json["profile"]
    return profile["followers_count"], profile["following_count"]


@pytest.mark.usefixtures("bystander")
def test_follow_list_read_and_unfollow(sign_in: SignIn, client: FlaskClient, make: Make, cache_clock: Clock) -> None:
    lin, kofi, mira = (make.user(handle, display_name=handle.title()) for handle in ("lin", "kofi", "mira"))
    for author, age in ((kofi, "2 minutes"), (mira, "1 minute"), (lin, "3 minutes")):
        make.activity(author, f"of {author.handle}", age=age)
    make.activity(kofi, "a reply", reply_to=make.activity(mira, "parent", age="1 hour"))
    make.follow(mira, lin, kofi)
    reader = sign_in(lin)
    assert messages(reader) == ["of lin"]

    for _ in range(2):
        # A handle is found without regard to case, and a body is ignored.
        response = reader.put("/api/users/@KOFI/follow", json={"handle": "mira"})
        assert (response.status_code, response.json) == (200, relationship(kofi, following=True))
        assert response.headers["Cache-Control"] == "private, no-store"
    assert reader.put(follow_path(mira)).json == relationship(mira, following=True, followed_by=True)

    assert messages(reader) == ["of mira", "of kofi", "of lin", "parent"]
    first = reader.get(HOME).json[0]
    assert list(first)[-4:] == ["created_at", "liked", "reposted", "reposted_by"]
    assert (first["handle"], first["display_name"], first["liked"], first["reposted_by"]) == (
        "mira",
        "Mira",
        False,
        None,
    )
    assert counts(client, lin) == (1, 2)
    assert counts(client, kofi) == (2, 0)
    following = [
        {"uuid": str(user.uuid), "handle": user.handle, "display_name": user.display_name} for user in (mira, kofi)
    ]
    assert client.get("/api/users/@LIN/following").json == following
    assert client.get("/api/users/@lin/followers").json == following[:1]

    for _ in range(2):
        response = reader.delete(follow_path(kofi))
        assert (response.status_code, response.json) == (200, relationship(kofi))
    assert messages(reader) == ["of mira", "of lin", "parent"]
    assert make.follows() == [("lin", "mira"), ("mira", "kofi"), ("mira", "lin")]
    cache_clock.now += MAX_AGE_SECONDS
    assert counts(client, kofi) == (1, 0)
    assert make.miscounted_follows() == []


@pytest.mark.usefixtures("bystander")
def test_unknown_user_and_self_are_refused(
    subtests: pytest.Subtests, sign_in: SignIn, client: FlaskClient, make: Make
) -> None:
    lin, mira = make.user("lin"), make.user("mira")
    make.follow(lin, mira)
    reader = sign_in(lin)
    for method in ("PUT", "DELETE"):
        for handle, status, codes in (
            ("nobody", 404, ["not_found"]),
            ("no-handle", 404, ["not_found"]),
            ("lin", 422, ["follow_self"]),
            ("LIN", 422, ["follow_self"]),
        ):
            with subtests.test(f"{method} {handle}"):
                response = reader.open(f"/api/users/@{handle}/follow", method=method)
                assert (response.status_code, response.json) == (status, codes)
    for name in LISTS:
        response = client.get(f"/api/users/@missing/{name}")
        assert (response.status_code, response.json) == (404, ["not_found"])
    assert make.follows() == [("lin", "mira")]
    assert make.miscounted_follows() == []


def crowd(make: Make, count: int) -> None:
    """Insert users with the handles `crowd1`, `crowd2` and so on."""
    make.owner.execute(
        "INSERT INTO users (handle, display_name, cognito_user_id)"
        " SELECT 'crowd' || n, 'Crowd', 'crowd-' || n FROM generate_series(1, %s) AS n",
        [count],
    )


@pytest.mark.usefixtures("bystander")
def test_user_follows_5000_users_at_most(app: Flask, sign_in: SignIn, make: Make) -> None:
    lin, followed, last, excess = (make.user() for _ in range(4))
    crowd(make, 4_998)
    make.follow(lin, followed)
    make.owner.execute(
        "INSERT INTO follows (follower_uuid, followed_uuid) SELECT %s, uuid FROM users WHERE handle LIKE 'crowd%%'",
        [lin.uuid],
    )
    client = sign_in(lin)

    assert client.put(follow_path(last)).json == relationship(last, following=True)
    refused = client.put(follow_path(excess))
    assert (refused.status_code, refused.json) == (422, ["follows_exceed_max"])
    assert client.put(follow_path(followed)).json == relationship(followed, following=True)
    # Of concurrent requests for one place, one gets it.
    assert client.delete(follow_path(last)).status_code == HTTPStatus.OK
    others = [excess, *(make.user() for _ in range(THREADS - 1))]
    with ThreadPoolExecutor(THREADS) as pool:
        headers = bearer(lin.cognito_user_id)
        responses = pool.map(lambda user: app.test_client().put(follow_path(user), headers=headers), others)
        statuses = sorted(response.status_code for response in responses)
    assert statuses == [200] + [422] * (THREADS - 1)
    assert counts(client, lin) == (0, 5_000)
    assert make.miscounted_follows() == []


@pytest.mark.usefixtures("bystander")
def test_relationships_come_in_the_order_of_the_handles(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    lin, kofi, mira, zoe = (make.user(handle) for handle in ("lin", "kofi", "Mira", "zoe"))
    make.follow(lin, kofi, mira)
    make.follow(mira, lin)
    make.follow(zoe, lin, kofi)
    client = sign_in(lin)
    theirs = {
        "kofi": relationship(kofi, following=True),
        "mira": relationship(mira, following=True, followed_by=True),
        "zoe": relationship(zoe, followed_by=True),
        "lin": relationship(lin),
    }
    full = ",".join(["zoe"] * 98)
    for handles, expected in (
        ("zoe,kofi,mira", ["zoe", "kofi", "mira"]),
        ("mira,zoe,kofi", ["mira", "zoe", "kofi"]),
        ("MIRA,zoe,mira,Zoe", ["mira", "zoe"]),
        ("nobody,kofi,no-handle,\u212aofi,@zoe, zoe,é", ["kofi"]),
        (",zoe,,kofi,", ["zoe", "kofi"]),
        ("nobody", []),
        ("lin", ["lin"]),
        (f"{full},kofi,mira", ["zoe", "kofi", "mira"]),
        (f"{'a' * 31},kofi", ["kofi"]),
    ):
        with subtests.test(handles[:40]):
            response = client.get(RELATIONSHIPS, query_string={"handles": handles})
            assert (response.status_code, response.json) == (200, [theirs[handle] for handle in expected])
            assert response.headers["Cache-Control"] == "private, no-store"
    for handles, code in (
        ("", "handles_blank"),
        (",,", "handles_blank"),
        (f"{full},kofi,mira,lin", "handles_exceed_max"),
        (f"{full},{full}", "handles_exceed_max"),
    ):
        with subtests.test(f"{code} {handles[:40]}"):
            response = client.get(RELATIONSHIPS, query_string={"handles": handles})
            assert (response.status_code, response.json) == (422, [code])
    assert client.get(RELATIONSHIPS).json == ["handles_blank"]


@pytest.mark.slow
@pytest.mark.usefixtures("bystander")
def test_lists_have_each_row_once_while_follows_come_and_go(
    subtests: pytest.Subtests, client: FlaskClient, make: Make
) -> None:
    target = make.user("target")

    def add(age: str) -> User:
        user = make.user()
        make.follow(target, user, age=age)
        make.follow(user, target, age=age)
        return user

    # Two follows each at the same time.
    for number in range(8):
        add(f"{number // 2} hours")
    for name in LISTS:
        for relation in ("next", "prev"):
            with subtests.test(f"{name} {relation}"):
                path = f"/api/users/@target/{name}"
                expected = [row["uuid"] for row in client.get(path, query_string={"limit": 100}).json]
                page = client.get(path, query_string={"limit": 2})
                while relation == "prev" and "next" in links(page):
                    page = client.get(links(page)["next"])
                rows: list[str] = []
                while True:
                    rows += [row["uuid"] for row in (page.json if relation == "next" else reversed(page.json))]
                    if relation not in links(page):
                        break
                    add("1 week")
                    add("90 minutes")
                    make.owner.execute("DELETE FROM users WHERE uuid = %s", [add("1 s").uuid])
                    page = client.get(links(page)[relation])
                seen = [uuid for uuid in rows if uuid in expected]
                assert seen == (expected if relation == "next" else expected[::-1])
                assert len(set(rows)) == len(rows)
    assert make.miscounted_follows() == []


@pytest.mark.usefixtures("bystander")
def test_concurrent_follows_and_unfollows_are_counted_exactly(app: Flask, make: Make, owner_url: str) -> None:
    users = [make.user() for _ in range(8)]
    rng = random.Random(4567)
    calls = [(*rng.sample(users, 2), rng.choice(["PUT", "PUT", "DELETE"])) for _ in range(480)]
    deletable = [make.user() for _ in range(12)]
    for user in deletable:
        make.follow(user, *users, *(other for other in deletable if other != user))
        for other in users:
            make.follow(other, user)

    def call(follower: User, followed: User, method: str) -> tuple[int, bool]:
        headers = bearer(follower.cognito_user_id)
        response = app.test_client().open(follow_path(followed), method=method, headers=headers)
        return response.status_code, response.json["following"] is (method == "PUT")

    def delete(user: User) -> None:
        with psycopg.connect(owner_url, autocommit=True) as connection:
            connection.execute("DELETE FROM users WHERE uuid = %s", [user.uuid])

    with ThreadPoolExecutor(THREADS) as pool:
        deletions = [pool.submit(delete, user) for user in deletable]
        results = pool.map(lambda each: call(*each), calls)
        seen = set(results)
        for deletion in deletions:
            deletion.result()

    assert seen == {(HTTPStatus.OK, True)}
    assert make.miscounted_follows() == []
    statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert make.owner.execute(statement).fetchone() == (0,)


@pytest.mark.usefixtures("bystander")
def test_follow_that_waits_for_a_deletion_is_not_found(sign_in: SignIn, make: Make, owner_url: str) -> None:
    lin, gone = make.user("lin"), make.user("gone")
    with psycopg.connect(owner_url) as deletion, ThreadPoolExecutor(1) as pool:
        deletion.execute("DELETE FROM users WHERE uuid = %s", [gone.uuid])
        request = pool.submit(sign_in(lin).put, follow_path(gone))
        wait_until(lambda: waits(owner_url))
        deletion.commit()

        assert (request.result().status_code, request.result().json) == (404, ["not_found"])
    assert make.follows() == []
    assert make.miscounted_follows() == []


def test_follows_end_with_either_user(client: FlaskClient, make: Make, bystander: User) -> None:
    lin, kofi, mira = make.user("lin"), make.user("kofi"), make.user("mira")
    make.follow(lin, kofi, mira)
    make.follow(kofi, lin)
    make.follow(mira, kofi)

    make.owner.execute("DELETE FROM users WHERE uuid = %s", [kofi.uuid])

    assert make.follows() == [("lin", "mira")]
    assert [counts(client, user) for user in (lin, mira, bystander)] == [(0, 1), (1, 0), (1, 1)]
    assert make.miscounted_follows() == []


@pytest.mark.usefixtures("bystander")
def test_personal_home_has_each_activity_once_while_the_graph_changes(
    subtests: pytest.Subtests, sign_in: SignIn, make: Make
) -> None:
    for relation in ("next", "prev"):
        with subtests.test(relation):
            reader = make.user()
            authors = [reader, *(make.user() for _ in range(5))]
            leaver, doomed = make.user(), make.user()
            make.follow(reader, *authors[1:], leaver, doomed)
            # Activities of three authors each at the same time.
            for number in range(18):
                make.activity(authors[number % 6], str(number), age=f"{number // 3} hours")
            for number in range(6):
                make.activity(leaver, "the leaver's", age=f"{number} hours")
            mortal = [make.activity(doomed, "mortal", age=f"{number} hours") for number in range(6)]
            client = sign_in(reader)
            expected = [row["uuid"] for row in client.get(HOME, query_string={"limit": 100}).json]
            gone = {str(activity.uuid) for activity in mortal}
            stays = [
                row["uuid"]
                for row in client.get(HOME, query_string={"limit": 100}).json
                if row["handle"] != leaver.handle and row["uuid"] not in gone
            ]
            assert (len(expected), len(stays)) == (30, 18)
            page = client.get(HOME, query_string={"limit": 4})
            while relation == "prev" and "next" in links(page):
                page = client.get(links(page)["next"])

            rows: list[str] = []
            while True:
                on_page = [row["uuid"] for row in page.json]
                rows += on_page if relation == "next" else on_page[::-1]
                if relation not in links(page):
                    break
                # Authors post at both ends and in the middle; the reader follows and unfollows; activities expire.
                for age in ("0 s", "90 minutes", "1 day"):
                    make.activity(authors[3], "in between", age=age)
                newcomer = make.user()
                make.activity(newcomer, "a newcomer's", age="150 minutes")
                assert client.put(follow_path(newcomer)).status_code == HTTPStatus.OK
                if mortal:
                    make.expire(mortal.pop())
                client.open(follow_path(leaver), method="DELETE" if len(mortal) % 2 else "PUT")
                page = client.get(links(page)[relation])
                for row in page.json:
                    assert row["uuid"] not in gone - {str(activity.uuid) for activity in mortal}
            seen = [uuid for uuid in rows if uuid in stays]
            assert seen == (stays if relation == "next" else stays[::-1])
            assert len(set(rows)) == len(rows)


def shown(client: FlaskClient) -> list[tuple[str, str | None]]:
    """Return the messages of the personal home, each with the handle of the user who reposted it."""
    return [(row["message"], row["reposted_by"]) for row in client.get(HOME).json]


@pytest.mark.usefixtures("bystander")
def test_personal_home_has_reposts_of_followed_users_and_own_ones(sign_in: SignIn, make: Make) -> None:
    lin, kofi, mira, zoe = (make.user(handle) for handle in ("lin", "Kofi", "mira", "zoe"))
    make.follow(lin, kofi, mira)
    reader = sign_in(lin)
    theirs = make.activity(zoe, "zoe's", age="5 hours")
    reply = make.activity(zoe, "zoe's reply", age="4 hours", reply_to=theirs)
    make.activity(zoe, "not reposted", age="1 hour")
    make.activity(kofi, "kofi's reply", age="3 hours", reply_to=theirs)
    own = make.activity(lin, "own", age="6 hours")
    make.activity(mira, "mira's", age="150 minutes")
    # A state that only a COPY creates.
    newer = make.activity(mira, "mira's, reposted before", age="10 minutes")
    make.repost(newer, kofi, age="20 minutes")
    make.repost(theirs, kofi, age="2 hours")
    make.repost(theirs, zoe)
    make.repost(reply, mira, age="3 hours")
    before = [("mira's, reposted before", None), ("zoe's", "Kofi"), ("mira's", None), ("zoe's reply", "mira")]
    assert shown(reader) == [*before, ("own", None)]

    # The newest repost places an activity, and the next newest when that one ends.
    make.repost(theirs, mira, age="1 hour")
    assert shown(reader)[1] == ("zoe's", "mira")
    reader.delete(follow_path(mira))
    assert shown(reader) == [("mira's, reposted before", "Kofi"), ("zoe's", "Kofi"), ("own", None)]
    reader.put(follow_path(mira))
    # An own repost is one of a followed user.
    reader.put(f"/api/activities/{own.uuid}/repost")
    reader.put(f"/api/activities/{reply.uuid}/repost")
    top = [("zoe's reply", "lin"), ("own", "lin"), ("mira's, reposted before", None), ("zoe's", "mira")]
    assert shown(reader) == [*top, ("mira's", None)]
    first, second, third, *_ = reader.get(HOME).json
    # The times are the activities'.
    assert (first["handle"], first["reposted"]) == ("zoe", True)
    assert second["created_at"] < first["created_at"] < third["created_at"]
    reader.delete(f"/api/activities/{own.uuid}/repost")
    assert shown(reader)[-1] == ("own", None)
    make.expire(theirs)
    assert [message for message, _ in shown(reader)] == ["zoe's reply", "mira's, reposted before", "mira's", "own"]


@pytest.mark.usefixtures("bystander")
def test_personal_home_continues_after_many_reposts_of_one_activity(sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("lin"), make.user("kofi")
    activity = make.activity(kofi, "popular", age="5 hours")
    make.activity(kofi, "older", age="6 hours")
    crowd(make, 250)
    crowded = (
        "INSERT INTO follows (follower_uuid, followed_uuid) SELECT %s, uuid FROM users WHERE handle LIKE 'crowd%%'"
    )
    make.owner.execute(crowded, [lin.uuid])
    make.follow(lin, kofi)
    make.owner.execute(
        "INSERT INTO reposts (activity_uuid, user_uuid, created_at)"
        " SELECT %s, uuid, now() - right(handle, -5)::int * interval '1 s' FROM users WHERE handle LIKE 'crowd%%'",
        [activity.uuid],
    )
    reader = sign_in(lin)

    # The newest 200 entries are one activity.
    first = reader.get(HOME)
    assert (entries(first.json), set(links(first))) == ([(str(activity.uuid), "crowd1")], {"next"})
    second = reader.get(links(first)["next"])
    assert [row["message"] for row in second.json] == ["older"]
    assert [row["message"] for row in walk(reader, second, "prev")] == ["older", "popular"]


def entries(rows: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """Return the uuids of a list's rows, each with the handle of the user who reposted it."""
    return [(row["uuid"], row["reposted_by"]) for row in rows]


def naive(make: Make, reader: User) -> list[tuple[str, str | None]]:
    """Return the uuids of the personal home, each with the handle of the user who reposted it, by a plain join."""
    statement = """
        WITH followed AS (SELECT followed_uuid FROM follows WHERE follower_uuid = %(uuid)s UNION SELECT %(uuid)s),
        entries AS (
            SELECT uuid, created_at, NULL::uuid AS reposter FROM activities
            WHERE reply_to_activity_uuid IS NULL AND user_uuid IN (SELECT * FROM followed)
            UNION ALL
            SELECT activity_uuid, created_at, user_uuid FROM reposts WHERE user_uuid IN (SELECT * FROM followed)
        ),
        newest AS (
            SELECT DISTINCT ON (uuid) * FROM entries ORDER BY uuid, created_at DESC, reposter NULLS FIRST
        )
        SELECT newest.uuid::text, users.handle FROM newest
        JOIN live_activities ON live_activities.uuid = newest.uuid
        LEFT JOIN users ON users.uuid = newest.reposter
        ORDER BY newest.created_at DESC, newest.uuid DESC
    """
    return list(make.owner.execute(statement, {"uuid": reader.uuid}))


@pytest.mark.slow
def test_personal_home_equals_a_plain_join_of_random_graphs(
    subtests: pytest.Subtests, sign_in: SignIn, make: Make
) -> None:
    rng = random.Random(4567)
    crowd(make, 60)
    # Few authors write most, many activities have the same time, a third has expired, and a fifth are replies.
    make.owner.execute("SELECT setseed(0.4567)")
    make.owner.execute(
        """
        INSERT INTO activities (user_uuid, message, created_at, expires_at)
        SELECT authors.uuid, 'hello', now() - seconds, CASE random.n % 3 WHEN 0 THEN now() - interval '1 ms' END
        FROM
            (SELECT n, floor(1 + random() * 200) * interval '1 s' AS seconds, floor(40 * random() ^ 3) AS author
            FROM generate_series(1, 1500) AS n) AS random
        JOIN (SELECT uuid, row_number() OVER (ORDER BY handle) - 1 AS n FROM users) AS authors ON authors.n = author
        """
    )
    make.owner.execute(
        """
        INSERT INTO activities (user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid)
        SELECT user_uuid, 'a reply', uuid, user_uuid FROM live_activities LIMIT 300
        """
    )
    # A few activities have most reposts, some have expired, and some reposts are as old as others or as the activity.
    make.owner.execute("ALTER TABLE reposts DISABLE TRIGGER reposts_added")
    make.owner.execute(
        """
        INSERT INTO reposts (activity_uuid, user_uuid, created_at)
        SELECT activities.uuid, users.uuid, activities.created_at + floor(random.shift) * interval '1 s'
        FROM
            (SELECT
                floor(1500 * random() ^ 3) AS activity, floor(40 * random() ^ 2) AS reposter, 60 * random() - 2 AS shift
            FROM generate_series(1, 3000)) AS random
        JOIN (SELECT *, row_number() OVER (ORDER BY message, uuid) - 1 AS n FROM activities) AS activities
            ON activities.n = random.activity
        JOIN (SELECT uuid, row_number() OVER (ORDER BY handle) - 1 AS n FROM users) AS users
            ON users.n = random.reposter
        ON CONFLICT DO NOTHING
        """
    )
    make.owner.execute("ALTER TABLE reposts ENABLE TRIGGER reposts_added")
    for number, limit in ((0, 20), (1, 3), (5, 20), (20, 1), (20, 7), (40, 20), (60, 100)):
        with subtests.test(f"{number} follows, pages of {limit}"):
            reader = make.user()
            make.activity(reader, age=f"{rng.randrange(200)} seconds")
            users = [uuid for (uuid,) in make.owner.execute("SELECT uuid FROM users WHERE handle LIKE 'crowd%'")]
            make.owner.cursor().executemany(
                "INSERT INTO follows (follower_uuid, followed_uuid) VALUES (%s, %s)",
                [(reader.uuid, uuid) for uuid in rng.sample(users, number)],
            )
            # The reader reposts what another user did, a second before.
            make.owner.execute(
                """
                INSERT INTO reposts (activity_uuid, user_uuid, created_at)
                SELECT live_activities.uuid, %s, reposts.created_at - interval '1 s'
                FROM reposts JOIN live_activities ON live_activities.uuid = reposts.activity_uuid
                WHERE reposts.user_uuid = %s
                """,
                [reader.uuid, rng.choice(users[:40])],
            )
            client, expected = sign_in(reader), naive(make, reader)
            if limit == 1:
                # A walk in steps of one would take a second.
                expected = expected[:40]
            first = last = client.get(HOME, query_string={"limit": limit})
            rows = entries(first.json)
            while "next" in links(last) and len(rows) < len(expected):
                last = client.get(links(last)["next"])
                rows += entries(last.json)
            assert rows == expected
            backwards = entries(walk(client, last, "prev"))
            on_last = entries(last.json)
            assert backwards[: len(on_last)] == on_last
            assert on_last[::-1] + backwards[len(on_last) :] == expected[::-1]
