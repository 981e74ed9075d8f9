"""Expiry: an expired activity or message never appears in any response, by the database's clock."""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from psycopg import Connection
from werkzeug.test import TestResponse

from tests.conftest import SignIn, links
from tests.factories import Make

POSTED = 50
# 2,000 activities that mention the reader and expire at random within four seconds. 500 of them are
# replies, which expire together with their parent.
POSTS = f"""
    INSERT INTO activities (user_uuid, message, mentions, created_at, expires_at)
    SELECT %(author)s, 'ends soon', ARRAY[%(reader)s::uuid], now() - n * interval '1 ms', now() + interval '1 hour'
    FROM generate_series(1, {1500 - POSTED}) AS n
"""
REPLIES = """
    INSERT INTO activities (
        user_uuid, message, mentions, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at
    )
    SELECT %(author)s, 'ends soon', ARRAY[%(reader)s::uuid], uuid, user_uuid, created_at, expires_at
    FROM (SELECT uuid, user_uuid, created_at, expires_at FROM activities ORDER BY random() LIMIT 500) AS parent
"""
FOLLOW = "INSERT INTO follows (follower_uuid, followed_uuid) VALUES (%(reader)s, %(author)s)"
LIKES = "INSERT INTO likes (activity_uuid, user_uuid) SELECT uuid, %(reader)s FROM activities"
REPOSTS = "INSERT INTO reposts (activity_uuid, user_uuid) SELECT uuid, %(reader)s FROM activities"
TAGS = """
    INSERT INTO taggings (activity_uuid, tag, user_uuid, expires_at, created_at)
    SELECT uuid, 'soon', user_uuid, expires_at, created_at FROM activities
"""
# The writes above may take a second. They need live activities.
END = """
    UPDATE activities SET expires_at = clock_timestamp() + interval '1 s' + random() * interval '4 s'
    WHERE reply_to_activity_uuid IS NULL
"""
END_REPLIES = """
    UPDATE activities SET expires_at = parent.expires_at
    FROM activities AS parent
    WHERE parent.uuid = activities.reply_to_activity_uuid
"""
FEEDS = {
    "visitors": "/api/activities/home",
    "home": "/api/activities/home?limit=100",
    "search": "/api/activities/search?term=ends+soon&limit=100",
    "hashtag": "/api/activities/tagged/soon?limit=100",
    "profile": "/api/activities/@author?limit=100",
    "reposts by reader": "/api/activities/@reader?reposts=true&limit=100",
    "notifications": "/api/activities/notifications?limit=100",
    "liked": "/api/activities/liked?limit=100",
    "every notification": "/api/notifications?limit=100",
    "following": "/api/activities/following?limit=100",
}
# From just expired to live for as long as a slow request takes.
OFFSETS = [timedelta(milliseconds=milliseconds) for milliseconds in (-10, 2, 10, 50, 1000)]
PRIVATE = ("notifications", "every notification", "liked", "following")


class Watch:
    """Reads around the expiry of activities, with the number of rows that each kind of read has shown."""

    def __init__(self, owner: Connection) -> None:
        self.owner = owner
        self.ends: dict[UUID, datetime] = dict(owner.execute("SELECT uuid, expires_at FROM activities").fetchall())
        self.posts = {uuid for (uuid,) in owner.execute("SELECT uuid FROM activities WHERE reply_to_user_uuid IS NULL")}
        self.last = max(self.ends.values())
        self.seen: Counter[str] = Counter()

    def now(self) -> datetime:
        """Return the database's time."""
        (now,) = self.owner.execute("SELECT clock_timestamp()").fetchone()
        assert isinstance(now, datetime)
        return now

    def check(self, way: str, sent: datetime, shown: list[dict[str, Any]]) -> None:
        """Count the activities shown, each of which must expire after the request was sent."""
        for activity in shown:
            assert datetime.fromisoformat(activity["expires_at"]) > sent, way
        self.seen[way] += len(shown)

    def nearest(self, among: Iterable[UUID], offset: timedelta) -> UUID:
        """Return the activity that expires closest to now and an offset."""
        at = self.now() + offset
        return min(among, key=lambda uuid: abs(self.ends[uuid] - at))

    def live_posts(self, at: datetime) -> int:
        """Return the number of activities, without replies, that expire after `at`."""
        return sum(self.ends[uuid] > at for uuid in self.posts)


def page(response: TestResponse) -> list[dict[str, Any]]:
    """Return the activities that a feed's response shows, of notifications theirs."""
    shown = response.json
    return [row.get("activity", row) for row in (shown["activities"] if isinstance(shown, dict) else shown)]


def walk(watch: Watch, client: FlaskClient, way: str) -> None:
    """Read a feed page by page, and revalidate each page by its `ETag`."""
    path: str | None = FEEDS[way]
    while path:
        sent, response, received = watch.now(), client.get(path), watch.now()
        rows = page(response)
        watch.check(way, sent, rows)
        if way == "profile":
            count = response.json["profile"]["cruds_count"]
            assert watch.live_posts(received) <= count <= watch.live_posts(sent)
        sent, again = watch.now(), client.get(path, headers={"If-None-Match": response.headers["ETag"]})
        if again.status_code == HTTPStatus.NOT_MODIFIED:
            # A 304 confirms the client's copy at this moment.
            watch.check(f"{way}, 304", sent, rows)
        path = links(response).get("next")


def ask_nearest(watch: Watch, way: str, among: Iterable[UUID], request: Callable[[UUID], TestResponse]) -> None:
    """Request activities around their expiry, one by one."""
    for offset in OFFSETS:
        ask(watch, way, watch.nearest(among, offset), request)


def ask(watch: Watch, way: str, uuid: UUID, request: Callable[[UUID], TestResponse]) -> None:
    """Request one activity, which must exist until its expiry and not after."""
    sent, response, received = watch.now(), request(uuid), watch.now()
    if response.status_code == HTTPStatus.OK:
        body = response.json
        if body is None or isinstance(body, list):
            # The page with the activity's author, or the users who like the activity, or reposted it.
            body = {"expires_at": watch.ends[uuid].isoformat()}
        watch.check(way, sent, [body["activity"], *body["replies"]] if "replies" in body else [body])
    else:
        codes = response.json["codes"] if isinstance(response.json, dict) else response.json
        assert (response.status_code, codes) == (404, ["not_found"])
        assert watch.ends[uuid] <= received
        watch.seen[f"{way}, gone"] += 1


class People(NamedTuple):
    """The clients of the author, of the reader and of an anonymous user, and the author's idempotency keys."""

    author: FlaskClient
    keys: dict[UUID, str]
    reader: FlaskClient
    visitor: FlaskClient


@pytest.fixture
def people(client: FlaskClient, sign_in: SignIn, make: Make) -> People:
    """Create the clients and 2,000 activities that expire soon."""
    author, reader = make.user("author"), make.user("reader")
    keys = {}
    for n in range(POSTED):
        response = post(sign_in(author), str(n))
        keys[UUID(response.json["uuid"])] = str(n)
    parameters = {"author": author.uuid, "reader": reader.uuid}
    with make.owner.transaction():
        for statement in (POSTS, REPLIES, FOLLOW, LIKES, REPOSTS, TAGS, END, END_REPLIES):
            make.owner.execute(statement.encode(), parameters)
    return People(sign_in(author), keys, sign_in(reader), client)


def post(client: FlaskClient, key: str) -> TestResponse:
    """Create an activity, or replay its creation."""
    body = {"message": "ends soon, @reader", "ttl": "1-hour"}
    return client.post("/api/activities", json=body, headers={"Idempotency-Key": key})


def preview(client: FlaskClient, uuid: UUID) -> TestResponse:
    """Request the page of an activity, which shows the author."""
    return client.get(f"/@author/status/{uuid}", headers={"Accept": "application/problem+json"})


def until_all_expired(watch: Watch, *steps: Callable[[], None]) -> None:
    """Repeat the steps until the last activity has expired."""
    while watch.now() < watch.last:
        for step in steps:
            step()


def test_expired_activity_never_appears(people: People, make: Make) -> None:
    author, keys, reader, visitor = people
    watch = Watch(make.owner)
    assert len(watch.ends) == 2000

    def show(uuid: UUID) -> TestResponse:
        return reader.get(f"/api/activities/@author/status/{uuid}")

    def reply(uuid: UUID) -> TestResponse:
        return reader.post(f"/api/activities/{uuid}/reply", json={"message": "ends with it"})

    def unlike_and_like(uuid: UUID) -> TestResponse:
        reader.delete(f"/api/activities/{uuid}/like")
        return reader.put(f"/api/activities/{uuid}/like")

    def likes(uuid: UUID) -> TestResponse:
        return visitor.get(f"/api/activities/{uuid}/likes")

    def unrepost_and_repost(uuid: UUID) -> TestResponse:
        reader.delete(f"/api/activities/{uuid}/repost")
        return reader.put(f"/api/activities/{uuid}/repost")

    def reposts(uuid: UUID) -> TestResponse:
        return visitor.get(f"/api/activities/{uuid}/reposts")

    def replay(uuid: UUID) -> TestResponse:
        return post(author, keys[uuid])

    feeds = {way: partial(walk, watch, visitor if way == "visitors" else reader, way) for way in FEEDS}
    singles = {
        "status": partial(ask_nearest, watch, "status", watch.ends, show),
        "reply": partial(ask_nearest, watch, "reply", watch.ends, reply),
        "like": partial(ask_nearest, watch, "like", watch.ends, unlike_and_like),
        "likes": partial(ask_nearest, watch, "likes", watch.ends, likes),
        "repost": partial(ask_nearest, watch, "repost", watch.ends, unrepost_and_repost),
        "reposts": partial(ask_nearest, watch, "reposts", watch.ends, reposts),
        "preview": partial(ask_nearest, watch, "preview", watch.ends, partial(preview, visitor)),
        "replay": partial(ask_nearest, watch, "replay", keys, replay),
    }
    with ThreadPoolExecutor() as pool:
        threads = (
            *([feeds["visitors"], feeds["liked"]], [feeds["home"], feeds["search"], feeds["following"]]),
            [feeds["notifications"], feeds["every notification"], feeds["profile"], feeds["reposts by reader"]],
            [feeds["hashtag"]],
            singles.values(),
        )
        running = [pool.submit(until_all_expired, watch, *steps) for steps in threads]
    for each in running:
        each.result()

    # The counts are for a report: pytest -s.
    print(watch.seen)
    seen = {way for way, count in watch.seen.items() if count}
    assert {*FEEDS, *singles, *(f"{way}, gone" for way in singles)} <= seen
    assert any(way.endswith(", 304") for way in seen)
    for client in (reader, visitor):
        assert [page(client.get(path)) for way, path in FEEDS.items() if way not in PRIVATE] == [[]] * 6
    assert [page(reader.get(FEEDS[way])) for way in PRIVATE] == [[], [], [], []]
    assert reader.get("/api/notifications/unread").json == {"count": 0, "is_more": False}


# Five users send the reader 60 messages each, which expire at random within four seconds, in any order.
SENDERS, SENT = 5, 60
SOON = "clock_timestamp() + interval '1 s' + random() * interval '4 s'"
# The trigger sees an end of new rows only.
SENT_AGAIN = (
    "CREATE TEMPORARY TABLE sent ON COMMIT DROP AS SELECT * FROM messages",
    "DELETE FROM messages",
    f"""
    INSERT INTO messages (uuid, message_group_uuid, user_uuid, message, created_at, expires_at)
    SELECT uuid, message_group_uuid, user_uuid, message, created_at, {SOON} FROM sent
    """,
    f"""
    INSERT INTO messages (message_group_uuid, user_uuid, message, created_at, expires_at)
    SELECT message_group_uuid, user_uuid, 'ends soon', now() - random() * interval '1 hour', {SOON}
    FROM sent CROSS JOIN generate_series(3, {SENT}) AS n
    WHERE sent.message = 'by handle'
    """,
)


class Message(NamedTuple):
    """A message of the test: its conversation and its times."""

    group: str
    created_at: datetime
    expires_at: datetime


class MessageWatch:
    """Reads of a user's conversations around the ends of their messages."""

    def __init__(self, owner: Connection, reader: FlaskClient) -> None:
        self.owner, self.reader = owner, reader
        rows = owner.execute("SELECT message_group_uuid::text, created_at, expires_at FROM messages").fetchall()
        self.messages = [Message(*row) for row in rows]
        self.last = max(message.expires_at for message in self.messages)
        self.seen: Counter[str] = Counter()

    def now(self) -> datetime:
        """Return the database's time."""
        (now,) = self.owner.execute("SELECT clock_timestamp()").fetchone()
        assert isinstance(now, datetime)
        return now

    def live(self, group: str, at: datetime) -> dict[datetime, datetime]:
        """Return the ends, by the time of their message, of a conversation's messages that are live at a time."""
        return {
            each.created_at: each.expires_at for each in self.messages if each.group == group and each.expires_at > at
        }

    def read(self, way: str, path: str, check: Callable[[Any, datetime, datetime], None]) -> None:
        """Read `path`, check the response between the times before and after it, and revalidate it by its `ETag`."""
        sent, response, received = self.now(), self.reader.get(path), self.now()
        check(response.json, sent, received)
        self.seen[way] += len(response.json)
        sent, again = self.now(), self.reader.get(path, headers={"If-None-Match": response.headers["ETag"]})
        if again.status_code == HTTPStatus.NOT_MODIFIED:
            check(response.json, sent, self.now())
            self.seen[f"{way}, 304"] += 1

    def read_groups(self) -> None:
        """Read the list of conversations."""
        self.read("groups", "/api/message_groups", self.check_groups)

    def check_groups(self, shown: list[dict[str, Any]], sent: datetime, received: datetime) -> None:
        """Each conversation shows its last live message, and counts its live messages alone."""
        for group in shown:
            before, after = self.live(group["uuid"], sent), self.live(group["uuid"], received)
            last = datetime.fromisoformat(group["created_at"])
            assert last in before
            assert all(last >= time for time in after)
            assert len(after) <= group["unread_count"] <= len(before)
        times = [group["created_at"] for group in shown]
        assert times == sorted(times, reverse=True)
        ends = {message.group for message in self.messages if message.expires_at > received}
        assert ends <= {group["uuid"] for group in shown}

    def read_messages(self, group: str) -> None:
        """Read the messages of a conversation."""

        def check(shown: list[dict[str, Any]], sent: datetime, received: datetime) -> None:
            times = [datetime.fromisoformat(message["created_at"]) for message in shown]
            assert times == sorted(times)
            assert set(self.live(group, received)) <= set(times) <= set(self.live(group, sent))

        self.read("messages", f"/api/messages/{group}?limit=100", check)

    def replay(self, way: str, send: Callable[[], TestResponse], expires_at: datetime) -> None:
        """Repeat the request that sent a message. The message must exist until its end and not after."""
        sent, response, received = self.now(), send(), self.now()
        if response.status_code == HTTPStatus.OK:
            assert expires_at > sent
            self.seen[way] += 1
        else:
            assert (response.status_code, response.json) == (404, ["not_found"])
            assert expires_at <= received
            self.seen[f"{way}, gone"] += 1


def send(client: FlaskClient, message: str, receiver: dict[str, str]) -> TestResponse:
    """Send a message that ends, or replay its sending."""
    body = {"message": message, "ttl": "1-hour", **receiver}
    return client.post("/api/messages", json=body, headers={"Idempotency-Key": message})


def test_expired_message_never_appears(sign_in: SignIn, make: Make) -> None:
    reader, senders = make.user("reader"), [make.user() for _ in range(SENDERS)]
    requests: dict[str, tuple[str, Callable[[], TestResponse]]] = {}
    groups: list[str] = []
    for sender in senders:
        client = sign_in(sender)
        by_handle = partial(send, client, "by handle", {"handle": "reader"})
        groups.append(by_handle().json["message_group_uuid"])
        in_group = partial(send, client, "in the group", {"message_group_uuid": groups[-1]})
        assert in_group().status_code == HTTPStatus.OK
        requests |= {
            f"{groups[-1]} by handle": ("handle", by_handle),
            f"{groups[-1]} in the group": ("group", in_group),
        }
    with make.owner.transaction():
        for statement in SENT_AGAIN:
            make.owner.execute(statement.encode())
    keyed: dict[str, datetime] = dict(
        make.owner.execute(
            "SELECT message_group_uuid || ' ' || message, expires_at FROM messages WHERE message <> 'ends soon'"
        ).fetchall()
    )
    watch = MessageWatch(make.owner, sign_in(reader))
    assert len(watch.messages) == SENDERS * SENT

    while watch.now() < watch.last:
        watch.read_groups()
        for group in groups:
            watch.read_messages(group)
        for name, (way, request) in requests.items():
            watch.replay(way, request, keyed[name])

    print(watch.seen)
    assert {"groups", "groups, 304", "messages", "messages, 304", "handle, gone", "group, gone"} <= set(watch.seen)
    assert {"handle", "group"} <= set(watch.seen)
    assert watch.reader.get("/api/message_groups").json == []
    assert [watch.reader.get(f"/api/messages/{group}").json for group in groups] == [[]] * SENDERS
