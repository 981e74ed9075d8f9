"""Keyset pagination: limits, cursors and links, in both directions."""

import random
import re
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from psycopg import Connection
from werkzeug.test import TestResponse

from lib.pagination import Cursor, Order
from tests.conftest import SignIn, links
from tests.factories import Make

HOME = "/api/activities/home"


def walk(client: FlaskClient, start: TestResponse, relation: str) -> Iterator[TestResponse]:
    """Yield the page `start` and all that follow it by `relation`."""
    page = start
    yield page
    while relation in links(page):
        page = client.get(links(page)[relation])
        assert page.status_code == 200
        yield page


def messages(page: TestResponse) -> list[str]:
    """Return a page's messages."""
    return [shown["message"] for shown in page.json]


def test_default_page_size_is_20(sign_in: SignIn, make: Make) -> None:
    author = make.user()
    # The cached first page of an anonymous user may be a second old.
    client = sign_in(author)
    for _ in range(20):
        make.activity(author)
    full = client.get(HOME)
    assert (len(full.json), links(full)) == (20, {})

    make.activity(author)

    assert len(client.get(HOME).json) == 20
    assert list(links(client.get(HOME))) == ["next"]
    assert [len(page.json) for page in walk(client, client.get(HOME), "next")] == [20, 1]


@pytest.mark.parametrize("limit", ["1", "99", "100"])
def test_limit_from_1_to_100_is_accepted(client: FlaskClient, make: Make, limit: str) -> None:
    author = make.user()
    for _ in range(101):
        make.activity(author)

    assert len(client.get(HOME, query_string={"limit": limit}).json) == int(limit)


INVALID_LIMITS = ["0", "101", "-1", "abc", "", " 1", "1.0", "+5", "1e1", "٣", "9" * 5000, "0x10"]


def test_invalid_limit_is_refused(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for limit in INVALID_LIMITS:
        with subtests.test(limit[:20]):
            response = client.get(HOME, query_string={"limit": limit})

            assert (response.status_code, response.json) == (400, ["limit_invalid"])


def encode_cursor(packed: bytes) -> str:
    """Encode bytes as a cursor."""
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


OURS = str(Cursor(backwards=False, keyset=Order.NEWEST_FIRST.start.packed))


INVALID_CURSORS = [
    *("", "x", "null", "é", "A" * 10_000, "2026-11-22", OURS + "=", OURS[:-1], OURS + "A", OURS[:-1] + "x"),
    encode_cursor(b"\x02" + bytes(24)),
    encode_cursor(b"\x00\x7f" + b"\xff" * 23),
    encode_cursor(b"\x00\x80" + bytes(23)),
]


def test_invalid_cursor_is_refused(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for cursor in INVALID_CURSORS:
        with subtests.test(cursor[:20]):
            response = client.get(HOME, query_string={"cursor": cursor})

            assert (response.status_code, response.json) == (400, ["cursor_invalid"])


def test_link_target_is_a_query_string(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for _ in range(2):
        make.activity(author)

    for path in (HOME, f"/api/activities/@{author.handle}"):
        link = client.get(path, query_string={"limit": "1"}).headers["Link"]
        assert re.fullmatch(r'<\?limit=1&cursor=[\w-]{34}>; rel="next"', link)


def test_cursor_outlives_its_row(client: FlaskClient, make: Make) -> None:
    author = make.user()
    first = make.activity(author, "first", age="1 minute")
    make.activity(author, "second", age="2 minutes")
    page = client.get(HOME, query_string={"limit": "1"})
    make.owner.execute("DELETE FROM activities WHERE uuid = %s", [first.uuid])

    assert messages(client.get(links(page)["next"])) == ["second"]


def test_backward_pages_mirror_forward_pages(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for n in range(7):
        make.activity(author, str(n), age=f"{n + 1} minutes")

    forwards = list(walk(client, client.get(HOME, query_string={"limit": "3"}), "next"))
    backwards = list(walk(client, forwards[-1], "prev"))

    assert [messages(page) for page in forwards] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert [messages(page) for page in backwards] == [["6"], ["3", "4", "5"], ["0", "1", "2"]]
    assert [sorted(links(page)) for page in forwards] == [["next"], ["next", "prev"], ["prev"]]
    assert [sorted(links(page)) for page in backwards[1:]] == [["next", "prev"], ["next"]]


def test_empty_page_after_the_end_links_to_prev(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for n in range(3):
        make.activity(author, str(n), age=f"{n + 1} minutes")
    page = client.get(HOME, query_string={"limit": "2"})
    make.owner.execute("UPDATE activities SET expires_at = now() WHERE message = '2'")

    beyond = client.get(links(page)["next"])
    assert (messages(beyond), list(links(beyond))) == ([], ["prev"])
    assert messages(client.get(links(beyond)["prev"])) == ["0", "1"]


def test_empty_page_before_the_start_links_to_next(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for n in range(3):
        make.activity(author, str(n), age=f"{n + 1} minutes")
    second = client.get(links(client.get(HOME, query_string={"limit": "1"}))["next"])
    make.owner.execute("UPDATE activities SET expires_at = now() WHERE message = '0'")

    before = client.get(links(second)["prev"])
    assert (messages(before), list(links(before))) == ([], ["next"])
    assert messages(client.get(links(before)["next"])) == ["1"]


@pytest.mark.slow
def test_each_of_10000_live_activities_is_shown_once_during_changes(
    client: FlaskClient, make: Make, owner: Connection
) -> None:
    dice = random.Random(4567)
    author = make.user()
    # 100 activities per instant: only the uuid tells them apart.
    cursor = owner.execute(
        """
        INSERT INTO activities (user_uuid, message, created_at)
        SELECT %s, 'from the start', '2026-01-01Z'::timestamptz + n / 100 * interval '1 second'
        FROM generate_series(1, 10000) AS n
        RETURNING uuid
        """,
        [author.uuid],
    )
    live = {uuid for (uuid,) in cursor}
    expired: set[UUID] = set()
    next_to_expire = dice.sample([*live], len(live))
    shown: dict[str, Counter[UUID]] = {"next": Counter(), "prev": Counter()}
    page = client.get(HOME, query_string={"limit": "100"})

    for relation, seen in shown.items():
        for each in walk(client, client.get(page.request.full_path), relation):
            page = each
            uuids = [UUID(activity["uuid"]) for activity in page.json]
            assert not expired.intersection(uuids)
            seen.update(uuids)
            make.activity(author, "since")
            newly_expired = {next_to_expire.pop() for _ in range(10)}
            owner.execute("UPDATE activities SET expires_at = now() WHERE uuid = ANY (%s)", [list(newly_expired)])
            live -= newly_expired
            expired |= newly_expired

    assert len(expired) > 1500
    assert {relation: max(seen.values()) for relation, seen in shown.items()} == {"next": 1, "prev": 1}
    assert live <= shown["next"].keys()
    assert live <= shown["prev"].keys()
    # The pages backwards show the new activities on top.
    assert sum(shown["prev"].values()) > len(live) + 100
