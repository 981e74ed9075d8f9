"""Mutes: PUT and DELETE of a user's `mute`, the list, and the feeds that hide a muted user."""

from http import HTTPStatus
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from lib.purge import purge_batch
from services.validation import TTL
from tests.conftest import SignIn, links, rows_of, walk
from tests.factories import Make, User

FEEDS = {
    "home": "/api/activities/home",
    "personal home": "/api/activities/following",
    "search": "/api/activities/search?term=hello",
    "rare search": "/api/activities/search?term=xylophone",
    "hashtag": "/api/activities/tagged/cloud",
    "notifications": "/api/activities/notifications",
    "every notification": "/api/notifications",
}
MUTED = "/api/users/muted"


def mute_path(user: User) -> str:
    """Return the path of the current user's mute of a user."""
    return f"/api/users/@{user.handle}/mute"


def handles(client: FlaskClient, path: str) -> set[str]:
    """Return the handles of the users in a feed."""
    return {row["user"]["handle"] if "user" in row else row["handle"] for row in rows_of(client.get(path))}


def seen(client: FlaskClient, user: User) -> dict[str, bool]:
    """Return for each feed whether a user is in it."""
    return {feed: user.handle in handles(client, path) for feed, path in FEEDS.items()}


def unread(client: FlaskClient) -> dict[str, Any]:
    """Return the count of unread notifications."""
    counted: dict[str, Any] = client.get("/api/notifications/unread").json
    return counted


@pytest.mark.usefixtures("bystander")
def test_mute_hides_a_user_from_feeds_until_its_end(
    sign_in: SignIn, client: FlaskClient, make: Make, owner: psycopg.Connection
) -> None:
    lin, kofi, mira = (make.user(handle) for handle in ("lin", "kofi", "mira"))
    make.follow(lin, kofi, mira)
    root = make.activity(lin, "of lin")
    activity = make.tag(make.activity(kofi, "hello @lin, xylophone #cloud"), "cloud")
    make.mention(activity, lin)
    make.activity(kofi, "not reposted")
    make.activity(kofi, "a reply", reply_to=root)
    make.like(root, kofi)
    make.repost(root, kofi)
    make.follow(kofi, lin)
    make.repost(activity, mira)
    reader, everything, nothing = sign_in(lin), dict.fromkeys(FEEDS, True), dict.fromkeys(FEEDS, False)
    assert seen(reader, kofi) == everything
    assert unread(reader) == {"count": 5, "is_more": False}

    for _ in range(2):
        # A handle is found without regard to case.
        response = reader.put("/api/users/@KOFI/mute", json={"ttl": "1-hour"})
        assert (response.status_code, response.json["muting"], response.json["following"]) == (200, True, True)
        assert response.headers["Cache-Control"] == "private, no-store"

    assert seen(reader, kofi) == nothing
    assert unread(reader) == {"count": 0, "is_more": False}
    # The repost is another user's, of an activity of the muted one.
    assert handles(reader, FEEDS["personal home"]) == {"lin"}
    assert reader.get(MUTED).json == [{"uuid": str(kofi.uuid), "handle": "kofi", "display_name": kofi.display_name}]
    # Where the reader goes deliberately, the muted user is still there. No other user notices the mute.
    assert rows_of(reader.get("/api/activities/@kofi"))
    thread = reader.get(f"/api/activities/@lin/status/{root.uuid}").json
    assert [reply["handle"] for reply in thread["replies"]] == ["kofi"]
    assert "kofi" in handles(client, FEEDS["home"])
    for other in (mira, kofi):
        assert "kofi" in handles(sign_in(other), FEEDS["home"])
    assert "lin" in handles(sign_in(kofi), FEEDS["home"])
    assert sign_in(kofi).get("/api/users/relationships?handles=lin").json[0]["muting"] is False

    owner.execute("UPDATE mutes SET expires_at = now() WHERE muter_uuid = %s", [lin.uuid])
    assert seen(reader, kofi) == everything
    assert "not reposted" in reader.get(FEEDS["personal home"]).text
    assert reader.get(MUTED).json == []
    assert reader.get("/api/users/relationships?handles=kofi").json[0]["muting"] is False
    purged = purge_batch(owner)
    assert purged is not None
    assert purged.ended == 1
    assert owner.execute("SELECT count(*) FROM mutes WHERE muter_uuid = %s", [lin.uuid]).fetchall() == [(0,)]

    assert reader.put(mute_path(kofi)).json["muting"] is True
    for _ in range(2):
        response = reader.delete(mute_path(kofi))
        assert (response.status_code, response.json["muting"]) == (200, False)
    assert seen(reader, kofi) == everything


@pytest.mark.usefixtures("bystander")
def test_mute_ends_after_its_ttl(
    subtests: pytest.Subtests, sign_in: SignIn, make: Make, owner: psycopg.Connection
) -> None:
    lin, kofi = make.user("lin"), make.user("kofi")
    client = sign_in(lin)
    state = "SELECT expires_at IS NULL, expires_at - now() FROM mutes WHERE muter_uuid = %s"
    for ttl, lifetime in TTL.items():
        with subtests.test(ttl):
            assert client.put(mute_path(kofi), json={"ttl": ttl}).status_code == HTTPStatus.OK
            ((_, rest),) = owner.execute(state, [lin.uuid]).fetchall()
            assert 0 <= (lifetime - rest).total_seconds() < 60
    for without_ttl in ({}, {"ttl": None}, None):
        with subtests.test(str(without_ttl)):
            client.put(mute_path(kofi), json={"ttl": "1-hour"})
            assert client.put(mute_path(kofi), json=without_ttl).status_code == HTTPStatus.OK
            assert owner.execute(state, [lin.uuid]).fetchall() == [(True, None)]
    refused: tuple[tuple[str, str, dict[str, Any], int, list[str]], ...] = (
        (mute_path(kofi), "PUT", {"ttl": "2-hours"}, 422, ["ttl_blank"]),
        (mute_path(kofi), "PUT", {"ttl": ""}, 422, ["ttl_blank"]),
        (mute_path(kofi), "PUT", {"ttl": 1}, 422, ["ttl_blank"]),
        (mute_path(lin), "PUT", {}, 422, ["mute_self"]),
        ("/api/users/@LIN/mute", "DELETE", {}, 422, ["mute_self"]),
        ("/api/users/@missing/mute", "PUT", {}, 404, ["not_found"]),
        ("/api/users/@missing/mute", "DELETE", {}, 404, ["not_found"]),
    )
    for path, method, body, status, codes in refused:
        with subtests.test(f"{method} {path} {body}"):
            response = client.open(path, method=method, json=body)
            assert (response.status_code, response.json) == (status, codes)
    assert client.put(mute_path(kofi), data=b"[]", content_type="application/json").status_code == 400
    assert owner.execute(state, [lin.uuid]).fetchall() == [(True, None)]


def crowd(owner: psycopg.Connection, count: int) -> None:
    """Insert users with the handles `crowd1`, `crowd2` and so on."""
    owner.execute(
        "INSERT INTO users (handle, display_name, cognito_user_id)"
        " SELECT 'crowd' || n, 'Crowd', 'crowd-' || n FROM generate_series(1, %s) AS n",
        [count],
    )


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(("word", "table"), [("mute", "mutes"), ("block", "blocks")])
def test_user_mutes_and_blocks_5000_users_at_most(
    sign_in: SignIn, make: Make, owner: psycopg.Connection, word: str, table: str
) -> None:
    lin = make.user("lin")
    crowd(owner, 5_001)
    insert = f"INSERT INTO {table} SELECT %s, uuid FROM users WHERE handle LIKE 'crowd%%' AND handle <> ALL (%s)"
    owner.execute(insert.encode(), [lin.uuid, ["crowd1", "crowd2"]])
    client = sign_in(lin)

    assert client.put(f"/api/users/@crowd1/{word}").status_code == HTTPStatus.OK
    response = client.put(f"/api/users/@crowd2/{word}")
    assert (response.status_code, response.json) == (422, [f"{table}_exceed_max"])
    # A repeated one is no further one.
    assert client.put(f"/api/users/@crowd1/{word}").status_code == HTTPStatus.OK
    client.delete(f"/api/users/@crowd3/{word}")
    assert client.put(f"/api/users/@crowd2/{word}").status_code == HTTPStatus.OK

    path = f"/api/users/{word}ed?limit=100" if word == "block" else f"{MUTED}?limit=100"
    first = client.get(path)
    listed = [row["handle"] for row in walk(client, first, "next")]
    assert (listed[:2], len(listed), len(set(listed))) == (["crowd2", "crowd1"], 5_000, 5_000)


@pytest.mark.usefixtures("bystander")
def test_short_page_continues_after_the_last_visited_row(
    subtests: pytest.Subtests, sign_in: SignIn, make: Make, owner: psycopg.Connection
) -> None:
    lin, kofi, mira = (make.user(handle) for handle in ("lin", "kofi", "mira"))
    root = make.activity(lin, "of lin", age="2 hours")
    flood = """
        WITH flood AS (
            INSERT INTO activities (
                user_uuid, message, search_text, created_at, reply_to_activity_uuid, reply_to_user_uuid
            )
            SELECT %(author)s, 'hello', 'hello', now() - n * interval '1 s',
                parent, CASE WHEN parent IS NOT NULL THEN %(to)s END
            FROM generate_series(1, 1100) AS n CROSS JOIN (VALUES (NULL), (%(root)s::uuid)) AS given (parent)
            RETURNING uuid, user_uuid, created_at, expires_at
        )
        INSERT INTO taggings (activity_uuid, tag, user_uuid, expires_at, created_at)
        SELECT uuid, 'cloud', user_uuid, expires_at, created_at FROM flood
    """
    owner.execute(flood, {"author": kofi.uuid, "to": lin.uuid, "root": root.uuid})
    for age in ("1 hour", "10 minutes", "0 s"):
        activity = make.tag(make.activity(mira, f"hello, {age} ago", age=age), "cloud")
        make.mention(activity, lin)
    # So many newer activities leave the search to its index.
    for author in (kofi, mira):
        make.activity(author, f"a xylophone of {author.handle}", age="2 days")
    make.mute(lin, kofi)
    client = sign_in(lin)
    assert handles(client, FEEDS["rare search"]) == {"mira"}
    expected = ["hello, 0 s ago", "hello, 10 minutes ago", "hello, 1 hour ago"]

    for feed in ("home", "hashtag", "notifications", "every notification"):
        with subtests.test(feed):
            path = FEEDS[feed]
            first = client.get(path)
            # The rows of the muted user fill the scan before the last row.
            assert "next" in links(first)
            assert expected[-1] not in first.text
            rows = [row.get("activity", row) for row in walk(client, first, "next")]
            assert [row["message"] for row in rows if row["message"] in expected] == expected
            assert {row["handle"] for row in rows} - {"mira", "lin"} <= {"bystander", "friend"}
            last = client.get(path)
            while "next" in links(last):
                last = client.get(links(last)["next"])
            back = [row.get("activity", row) for row in walk(client, last, "prev")]
            assert sorted(row["uuid"] for row in back) == sorted(row["uuid"] for row in rows)
    # The count visits 200 notifications of the muted user's, and there may be more.
    owner.execute("UPDATE mentionings SET created_at = now() WHERE user_uuid = %s", [lin.uuid])
    assert unread(client) == {"count": 0, "is_more": True}
