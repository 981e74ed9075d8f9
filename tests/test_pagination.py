"""Walking through a feed, page by page, both ways."""

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
    """The page `start` and all that follow it by `relation`."""
    page = start
    yield page
    while relation in links(page):
        page = client.get(links(page)[relation])
        assert page.status_code == 200
        yield page


def messages(page: TestResponse) -> list[str]:
    """What a page shows."""
    return [shown["message"] for shown in page.json]


def test_a_page_has_twenty_rows_unless_told(sign_in: SignIn, make: Make) -> None:
    author = make.user()
    # A visitor's first page may be a second old.
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
def test_a_limit_from_1_to_100_is_taken(client: FlaskClient, make: Make, limit: str) -> None:
    author = make.user()
    for _ in range(101):
        make.activity(author)

    assert len(client.get(HOME, query_string={"limit": limit}).json) == int(limit)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "abc", "", " 1", "1.0", "+5", "1e1", "٣", "9" * 5000, "0x10"])
def test_any_other_limit_is_refused(client: FlaskClient, limit: str) -> None:
    answer = client.get(HOME, query_string={"limit": limit})

    assert (answer.status_code, answer.json) == (400, ["limit_invalid"])


def of_bytes(packed: bytes) -> str:
    """A cursor that is well spelt, whatever it holds."""
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


OURS = str(Cursor(backwards=False, keyset=Order.NEWEST_FIRST.start.packed))


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "null", "é", "A" * 10_000, "2026-11-22", OURS + "=", OURS[:-1], OURS + "A", OURS[:-1] + "x"),
        of_bytes(b"\x02" + bytes(24)),
        of_bytes(b"\x00\x7f" + b"\xff" * 23),
        of_bytes(b"\x00\x80" + bytes(23)),
    ],
)
def test_a_cursor_that_is_not_ours_is_refused(client: FlaskClient, cursor: str) -> None:
    answer = client.get(HOME, query_string={"cursor": cursor})

    assert (answer.status_code, answer.json) == (400, ["cursor_invalid"])


def test_a_link_is_a_query_alone(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for _ in range(2):
        make.activity(author)

    for path in (HOME, f"/api/activities/@{author.handle}"):
        link = client.get(path, query_string={"limit": "1"}).headers["Link"]
        assert re.fullmatch(r'<\?limit=1&cursor=[\w-]{34}>; rel="next"', link)


def test_a_cursor_outlives_its_row(client: FlaskClient, make: Make) -> None:
    author = make.user()
    first = make.activity(author, "first", age="1 minute")
    make.activity(author, "second", age="2 minutes")
    page = client.get(HOME, query_string={"limit": "1"})
    make.owner.execute("DELETE FROM activities WHERE uuid = %s", [first.uuid])

    assert messages(client.get(links(page)["next"])) == ["second"]


def test_there_and_back_is_the_same_way(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for n in range(7):
        make.activity(author, str(n), age=f"{n + 1} minutes")

    there = list(walk(client, client.get(HOME, query_string={"limit": "3"}), "next"))
    back = list(walk(client, there[-1], "prev"))

    assert [messages(page) for page in there] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert [messages(page) for page in back] == [["6"], ["3", "4", "5"], ["0", "1", "2"]]
    assert [sorted(links(page)) for page in there] == [["next"], ["next", "prev"], ["prev"]]
    assert [sorted(links(page)) for page in back[1:]] == [["next", "prev"], ["next"]]


def test_from_past_the_end_a_way_leads_back(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for n in range(3):
        make.activity(author, str(n), age=f"{n + 1} minutes")
    page = client.get(HOME, query_string={"limit": "2"})
    make.owner.execute("UPDATE activities SET expires_at = now() WHERE message = '2'")

    beyond = client.get(links(page)["next"])
    assert (messages(beyond), list(links(beyond))) == ([], ["prev"])
    assert messages(client.get(links(beyond)["prev"])) == ["0", "1"]


def test_a_way_back_from_before_the_start_leads_to_the_first_page(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for n in range(3):
        make.activity(author, str(n), age=f"{n + 1} minutes")
    second = client.get(links(client.get(HOME, query_string={"limit": "1"}))["next"])
    make.owner.execute("UPDATE activities SET expires_at = now() WHERE message = '0'")

    before = client.get(links(second)["prev"])
    assert (messages(before), list(links(before))) == ([], ["next"])
    assert messages(client.get(links(before)["next"])) == ["1"]


def test_each_live_one_of_ten_thousand_is_shown_once_while_others_come_and_go(
    client: FlaskClient, make: Make, owner: Connection
) -> None:
    dice = random.Random(4567)
    author = make.user()
    # A hundred at each instant: the uuid has to keep them apart.
    made = owner.execute(
        """
        INSERT INTO activities (user_uuid, message, created_at)
        SELECT %s, 'from the start', '2026-01-01Z'::timestamptz + n / 100 * interval '1 second'
        FROM generate_series(1, 10000) AS n
        RETURNING uuid
        """,
        [author.uuid],
    )
    live = {uuid for (uuid,) in made}
    expired: set[UUID] = set()
    shown: dict[str, Counter[UUID]] = {"next": Counter(), "prev": Counter()}
    page = client.get(HOME, query_string={"limit": "100"})

    for relation, seen in shown.items():
        for each in walk(client, client.get(page.request.full_path), relation):
            page = each
            uuids = [UUID(activity["uuid"]) for activity in page.json]
            assert not expired.intersection(uuids)
            seen.update(uuids)
            make.activity(author, "since")
            ended = set(dice.sample(sorted(live), 10))
            owner.execute("UPDATE activities SET expires_at = now() WHERE uuid = ANY (%s)", [list(ended)])
            live -= ended
            expired |= ended

    assert len(expired) > 1500
    assert {relation: max(seen.values()) for relation, seen in shown.items()} == {"next": 1, "prev": 1}
    assert live <= shown["next"].keys()
    assert live <= shown["prev"].keys()
    # The way back shows what has come since, on top.
    assert sum(shown["prev"].values()) > len(live) + 100
