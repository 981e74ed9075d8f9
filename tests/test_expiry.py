"""Expiry: an expired activity never appears in any response, by the database's clock."""

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
