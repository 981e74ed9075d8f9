"""Time: what has come to its end is nowhere, from that instant on, by the database's clock."""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
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
# 2,000 that mention the reader, and end at random within four seconds. 500 of them are
# replies, which end when what they answer ends.
SOON = "now() + interval '1 s' + random() * interval '4 s'"
END = f"UPDATE activities SET expires_at = {SOON}"
POSTS = f"""
    INSERT INTO activities (user_uuid, message, mentions, created_at, expires_at)
    SELECT %(author)s, 'ends soon', ARRAY[%(reader)s::uuid], now() - n * interval '1 ms', {SOON}
    FROM generate_series(1, {1500 - POSTED}) AS n
"""
REPLIES = """
    INSERT INTO activities (
        user_uuid, message, mentions, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at
    )
    SELECT %(author)s, 'ends soon', ARRAY[%(reader)s::uuid], uuid, user_uuid, created_at, expires_at
    FROM (SELECT uuid, user_uuid, created_at, expires_at FROM activities ORDER BY random() LIMIT 500) AS parent
"""
FEEDS = {
    "visitors": "/api/activities/home",
    "home": "/api/activities/home?limit=100",
    "search": "/api/activities/search?term=ends+soon&limit=100",
    "profile": "/api/activities/@author?limit=100",
    "notifications": "/api/activities/notifications?limit=100",
}


class Watch:
    """Reads around the ends of activities, and how many rows each way to read has shown."""

    def __init__(self, owner: Connection) -> None:
        self.owner = owner
        self.ends: dict[UUID, datetime] = dict(owner.execute("SELECT uuid, expires_at FROM activities").fetchall())
        self.posts = {uuid for (uuid,) in owner.execute("SELECT uuid FROM activities WHERE reply_to_user_uuid IS NULL")}
        self.last = max(self.ends.values())
        self.seen: Counter[str] = Counter()

    def now(self) -> datetime:
        """The database's time."""
        (now,) = self.owner.execute("SELECT clock_timestamp()").fetchone()
        assert isinstance(now, datetime)
        return now

    def check(self, way: str, sent: datetime, shown: list[dict[str, Any]]) -> None:
        """Count what is shown. All of it has its end after the request was sent."""
        for activity in shown:
            assert datetime.fromisoformat(activity["expires_at"]) > sent, way
        self.seen[way] += len(shown)

    def nearest(self, among: Iterable[UUID]) -> list[UUID]:
        """Those whose end comes next, or has just come."""
        now = self.now()
        return sorted(among, key=lambda uuid: abs(self.ends[uuid] - now))[:5]

    def live_posts(self, at: datetime) -> int:
        """How many that are no replies have their end after `at`."""
        return sum(self.ends[uuid] > at for uuid in self.posts)


def page(answer: TestResponse) -> list[dict[str, Any]]:
    """The activities that a feed's answer shows."""
    shown = answer.json
    return list(shown["activities"] if isinstance(shown, dict) else shown)


def walk(watch: Watch, client: FlaskClient, way: str) -> None:
    """Read a feed from end to end, and each page again with its `ETag`."""
    path: str | None = FEEDS[way]
    while path:
        sent, answer, received = watch.now(), client.get(path), watch.now()
        rows = page(answer)
        watch.check(way, sent, rows)
        if way == "profile":
            count = answer.json["profile"]["cruds_count"]
            assert watch.live_posts(received) <= count <= watch.live_posts(sent)
        sent, again = watch.now(), client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        if again.status_code == HTTPStatus.NOT_MODIFIED:
            # What the client has is said to hold at this moment.
            watch.check(f"{way}, 304", sent, rows)
        path = links(answer).get("next")


def ask_nearest(watch: Watch, way: str, among: Iterable[UUID], request: Callable[[UUID], TestResponse]) -> None:
    """Ask for those whose end is nearest, one by one."""
    for uuid in watch.nearest(among):
        ask(watch, way, uuid, request)


def ask(watch: Watch, way: str, uuid: UUID, request: Callable[[UUID], TestResponse]) -> None:
    """Ask for one. It is there until its end, and then it is not."""
    sent, answer, received = watch.now(), request(uuid), watch.now()
    if answer.status_code == HTTPStatus.OK:
        body = answer.json
        watch.check(way, sent, [body["activity"], *body["replies"]] if "replies" in body else [body])
    else:
        assert (answer.status_code, answer.json) == (404, ["not_found"])
        assert watch.ends[uuid] <= received
        watch.seen[f"{way}, gone"] += 1


class People(NamedTuple):
    """The author with the keys that they have posted with, the reader, and somebody who is not signed in."""

    author: FlaskClient
    keys: dict[UUID, str]
    reader: FlaskClient
    visitor: FlaskClient


@pytest.fixture
def people(client: FlaskClient, sign_in: SignIn, make: Make) -> People:
    """Those who post and read."""
    author, reader = make.user("author"), make.user("reader")
    keys = {}
    for n in range(POSTED):
        made = post(sign_in(author), str(n))
        keys[UUID(made.json["uuid"])] = str(n)
    given = {"author": author.uuid, "reader": reader.uuid}
    with make.owner.transaction():
        for statement in (END, POSTS, REPLIES):
            make.owner.execute(statement.encode(), given)
    return People(sign_in(author), keys, sign_in(reader), client)


def post(client: FlaskClient, key: str) -> TestResponse:
    """Post, or repeat that."""
    body = {"message": "ends soon, @reader", "ttl": "1-hour"}
    return client.post("/api/activities", json=body, headers={"Idempotency-Key": key})


def until_all_are_over(watch: Watch, *steps: Callable[[], None]) -> None:
    """Go on with the steps until the last has come to its end."""
    while watch.now() < watch.last:
        for step in steps:
            step()


def test_nothing_is_seen_at_or_after_its_end(people: People, make: Make) -> None:
    author, keys, reader, visitor = people
    watch = Watch(make.owner)
    assert len(watch.ends) == 2000

    def show(uuid: UUID) -> TestResponse:
        return reader.get(f"/api/activities/@author/status/{uuid}")

    def reply(uuid: UUID) -> TestResponse:
        return reader.post(f"/api/activities/{uuid}/reply", json={"message": "ends with it"})

    def replay(uuid: UUID) -> TestResponse:
        return post(author, keys[uuid])

    feeds = {way: partial(walk, watch, visitor if way == "visitors" else reader, way) for way in FEEDS}
    singles = {
        "status": partial(ask_nearest, watch, "status", watch.ends, show),
        "reply": partial(ask_nearest, watch, "reply", watch.ends, reply),
        "replay": partial(ask_nearest, watch, "replay", keys, replay),
    }
    with ThreadPoolExecutor() as pool:
        threads = (
            *([feeds["visitors"]], [feeds["home"], feeds["search"]], [feeds["notifications"], feeds["profile"]]),
            singles.values(),
        )
        running = [pool.submit(until_all_are_over, watch, *steps) for steps in threads]
    for each in running:
        each.result()

    # For the report: pytest -s.
    print(watch.seen)
    seen = {way for way, count in watch.seen.items() if count}
    assert {*FEEDS, *singles, *(f"{way}, gone" for way in singles)} <= seen
    assert any(way.endswith(", 304") for way in seen)
    for client in (reader, visitor):
        assert [page(client.get(path)) for path in FEEDS.values() if path != FEEDS["notifications"]] == [[]] * 4
    assert page(reader.get(FEEDS["notifications"])) == []
