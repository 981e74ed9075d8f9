"""Notifications of every kind, and unread counts of notifications and conversations."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import SignIn, links
from tests.factories import Make, User

NOTIFICATIONS, UNREAD, READ = "/api/notifications", "/api/notifications/unread", "/api/notifications/read"
NOT_TIMES = [
    *("", " ", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00"),
    "9999-12-31T23:59:59-12:00",
    *(None, 1767225600, [], {}),
]


@pytest.fixture
def me(make: Make) -> User:
    """Create the user who gets the notifications."""
    return make.user("LinYue", display_name="Lin Yue")


def told(client: FlaskClient) -> list[tuple[str, str, str | None]]:
    """Return kind, user and message of each notification, newest first. A follow has no activity."""
    return [
        (shown["kind"], shown["user"]["handle"], shown["activity"] and shown["activity"]["message"])
        for shown in client.get(NOTIFICATIONS).json
    ]


def unread(client: FlaskClient) -> dict[str, Any]:
    """Return the body of the unread count."""
    response = client.get(UNREAD)
    assert response.status_code == 200
    return dict(response.json)


@pytest.mark.usefixtures("bystander")
def test_replies_mentions_likes_reposts_and_follows_by_others_notify(sign_in: SignIn, me: User, make: Make) -> None:
    kofi, mine = make.user("kofi", display_name="Kofi Mensah"), make.activity(me, "mine", age="1 hour")
    lin, other = sign_in(me), sign_in(kofi)
    path = f"/api/activities/{mine.uuid}"
    assert (lin.get(NOTIFICATIONS).json, unread(lin)) == ([], {"count": 0, "is_more": False})

    for client, followed in ((other, "LinYue"), (lin, "kofi")):
        # A reply with a mention is a reply.
        for method, target, body in (
            ("PUT", f"/api/users/@{followed}/follow", None),
            ("PUT", f"{path}/like", None),
            ("POST", f"{path}/reply", {"message": "because, @LinYue"}),
            ("PUT", f"{path}/repost", None),
            ("POST", "/api/activities", {"message": "ask @LinYue", "ttl": "1-day"}),
        ):
            assert client.open(target, method=method, json=body).status_code == 200

    assert told(lin) == [
        *(("mention", "kofi", "ask @LinYue"), ("repost", "kofi", "mine")),
        *(("reply", "kofi", "because, @LinYue"), ("like", "kofi", "mine"), ("follow", "kofi", None)),
    ]
    assert told(other) == [("follow", "LinYue", None)]
    newest, _, _, like, _ = lin.get(NOTIFICATIONS).json
    user = {"uuid": str(kofi.uuid), "handle": "kofi", "display_name": "Kofi Mensah"}
    assert (like.keys(), like["user"]) == ({"kind", "created_at", "user", "activity"}, user)
    assert like["activity"] == lin.get(f"/api/activities/@LinYue/status/{mine.uuid}").json["activity"]
    assert like["activity"]["liked"] is True
    assert newest["created_at"] == newest["activity"]["created_at"]

    # What is taken back, or has ended, notifies no longer.
    assert other.delete(f"{path}/like").status_code == 200
    assert [kind for kind, _, _ in told(lin)] == ["mention", "repost", "reply", "follow"]
    assert lin.delete(path).status_code == 200
    assert [kind for kind, _, _ in told(lin)] == ["mention", "follow"]
    assert unread(lin) == {"count": 2, "is_more": False}
    assert other.delete("/api/users/@LinYue/follow").status_code == 200
    assert [kind for kind, _, _ in told(lin)] == ["mention"]


def pages(client: FlaskClient, path: str | None, relation: str) -> Iterator[list[dict[str, Any]]]:
    """Yield each page from `path` on."""
    while path:
        response = client.get(path)
        assert response.status_code == 200
        yield response.json
        path = links(response).get(relation)


def test_notifications_are_paged_in_both_directions(sign_in: SignIn, me: User, make: Make) -> None:
    mine = make.activity(me, "mine", age="1 day")
    for n in range(12):
        other = make.user()
        make.activity(other, "a reply", age=f"{5 * n} minutes", reply_to=mine)
        make.mention(make.activity(other, "a mention", age=f"{5 * n + 1} minutes"), me)
        make.like(mine, other, age=f"{5 * n + 2} minutes")
        make.repost(mine, other, age=f"{5 * n + 3} minutes")
        make.follow(other, me, age=f"{5 * n + 4} minutes")
    # Likes of one instant are in order too.
    make.like(mine, *(make.user() for _ in range(12)), age="2 hours")
    make.owner.execute("UPDATE likes SET created_at = '2026-01-01Z' WHERE created_at < now() - interval '1 hour'")
    client = sign_in(me)

    forwards = list(pages(client, f"{NOTIFICATIONS}?limit=7", "next"))
    last = f"{NOTIFICATIONS}?limit=7"
    for _ in forwards[1:]:
        last = links(client.get(last))["next"]
    backwards = list(pages(client, last, "prev"))

    shown = [(one["kind"], one["user"]["uuid"]) for page in forwards for one in page]
    assert (len(shown), len(set(shown))) == (72, 72)
    assert [kind for kind, _ in shown[:60]] == ["reply", "mention", "like", "repost", "follow"] * 12
    assert [one for page in reversed(backwards) for one in page] == [one for page in forwards for one in page]


@pytest.mark.usefixtures("bystander")
def test_unread_notifications_are_counted_to_100(sign_in: SignIn, me: User, make: Make) -> None:
    mine, others = make.activity(me), [make.user() for _ in range(51)]
    make.like(mine, *others[:50], age="2 minutes")
    make.repost(mine, *others[:50], age="1 minute")
    client = sign_in(me)

    assert unread(client) == {"count": 100, "is_more": False}
    make.like(mine, others[50])
    assert unread(client) == {"count": 100, "is_more": True}
    make.expire(mine)
    assert unread(client) == {"count": 0, "is_more": False}


@pytest.mark.usefixtures("bystander")
def test_read_marker_moves_forward_only(sign_in: SignIn, me: User, make: Make) -> None:
    mine, client = make.activity(me), sign_in(me)
    for n in range(4):
        make.like(mine, make.user(), age=f"{n + 1} minutes")
    seen = [shown["created_at"] for shown in client.get(NOTIFICATIONS).json]

    for until, marker, count in ((seen[2], seen[2], 2), (seen[3], seen[2], 2), (seen[1], seen[1], 1)):
        assert client.put(READ, json={"until": until}).json == {"until": marker}
        assert unread(client)["count"] == count

    # A time in the future counts as now, so that later notifications are unread.
    response = client.put(READ, json={"until": "9999-12-31T23:59:59Z"})
    assert datetime.fromisoformat(response.json["until"]) - datetime.fromisoformat(seen[0]) < timedelta(hours=1)
    assert unread(client)["count"] == 0
    make.like(mine, make.user(), age="-1 s")
    assert unread(client)["count"] == 1


@pytest.mark.usefixtures("bystander")
def test_read_marker_requires_a_time(sign_in: SignIn, me: User, make: Make, subtests: pytest.Subtests) -> None:
    group, client = make.conversation(me, make.user(), "hello"), sign_in(me)

    for until in NOT_TIMES:
        for path in (READ, f"/api/messages/{group}/read"):
            with subtests.test(until=until, path=path):
                response = client.put(path, json={"until": until})
                assert (response.status_code, response.json) == (422, ["until_blank"])
    # The earliest time is one.
    assert client.put(READ, json={"until": "0001-01-01T00:00:00Z"}).status_code == 200
    assert unread(client) == {"count": 0, "is_more": False}
    markers = make.owner.execute("SELECT count(*) FROM read_markers WHERE user_uuid = %s", [me.uuid]).fetchone()
    assert markers == (1,)


@pytest.mark.usefixtures("bystander")
def test_unread_messages_of_each_conversation_are_counted(sign_in: SignIn, me: User, make: Make) -> None:
    kofi, bayko = make.user("kofi"), make.user("bayko")
    group, other_group = make.conversation(kofi, me, *("hello",) * 99), make.conversation(bayko, me, "hi")
    client = sign_in(me)

    def counts() -> dict[str, int]:
        """Return the unread count of each conversation."""
        return {shown["handle"]: shown["unread_count"] for shown in client.get("/api/message_groups").json}

    assert counts() == {"kofi": 99, "bayko": 1}
    for count in (100, 100):
        make.message(group, kofi, "once more")
        assert counts() == {"kofi": count, "bayko": 1}

    messages = client.get(f"/api/messages/{group}?limit=3").json
    until = {"until": messages[0]["created_at"]}
    assert client.put(f"/api/messages/{group}/read", json=until).json == until
    assert counts() == {"kofi": 2, "bayko": 1}
    # An earlier time does not move the marker back.
    assert client.put(f"/api/messages/{group}/read", json={"until": "2026-01-01T00:00:00Z"}).json == until
    assert counts() == {"kofi": 2, "bayko": 1}
    assert sign_in(kofi).put(f"/api/messages/{other_group}/read", json=until).json == ["not_found"]

    # Who has written has read what came before.
    make.message(group, me, "yes")
    assert counts() == {"kofi": 0, "bayko": 1}
    make.message(group, kofi, "good")
    assert counts() == {"kofi": 1, "bayko": 1}
