"""The list of a user's conversations."""

import random

import psycopg
import pytest

from ops.purge import purge
from tests.conftest import SignIn
from tests.factories import Make

GROUPS = "/api/message_groups"


def test_user_without_messages_has_no_conversations(sign_in: SignIn, make: Make) -> None:
    make.conversation(make.user(), make.user(), "between others")

    response = sign_in(make.user()).get(GROUPS)

    assert (response.status_code, response.json) == (200, [])


def test_conversation_shows_the_other_user_and_the_last_message(sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue", display_name="Lin Yue"), make.user("kofi", display_name="Kofi Mensah")
    group = make.conversation(lin, kofi, "first", "second", "last")

    (to_lin,), (to_kofi,) = sign_in(lin).get(GROUPS).json, sign_in(kofi).get(GROUPS).json

    assert to_lin.pop("created_at") == to_kofi.pop("created_at")
    shown = {"uuid": str(group), "message": "last", "expires_at": None}
    assert to_lin == {**shown, "display_name": "Kofi Mensah", "handle": "kofi", "unread_count": 0}
    assert to_kofi == {**shown, "display_name": "Lin Yue", "handle": "LinYue", "unread_count": 3}


def test_conversations_are_ordered_by_last_message(sign_in: SignIn, make: Make) -> None:
    me, others = make.user("me"), [make.user(name) for name in ("a", "b", "c", "d")]
    groups = [make.conversation(me, other, "hello") for other in others]
    make.conversation(others[0], others[1], "not mine")
    client = sign_in(me)

    for other, group in zip(others, groups, strict=True):
        for speaker in (client, sign_in(other)):
            response = speaker.post("/api/messages", json={"message": "again", "message_group_uuid": str(group)})
            assert response.status_code == 200
            assert client.get(GROUPS).json[0]["uuid"] == str(group)
    assert [shown["handle"] for shown in client.get(GROUPS).json] == ["d", "c", "b", "a"]


@pytest.mark.parametrize("is_purged", [False, True])
def test_conversation_shows_its_last_live_message(
    sign_in: SignIn, make: Make, owner_url: str, *, is_purged: bool
) -> None:
    me, others = make.user("me"), [make.user(name) for name in ("a", "b", "c", "d")]
    groups = [make.conversation(me, other) for other in others]
    # In each conversation the newest message has ended, and the order is that of the messages before.
    ages = {"a": "50 minutes", "b": "30 minutes", "c": "40 minutes"}
    for group, other in zip(groups, others, strict=True):
        if other.handle in ages:
            make.message(group, other, "an old one", age="55 minutes")
            make.message(group, other, f"of {other.handle}", age=ages[other.handle], ttl="1 hour")
        make.message(group, other, "expired", age="20 minutes", ttl="19 minutes")
    make.message(groups[0], others[0], "expired", age="10 minutes", ttl="1 minute")
    if is_purged:
        with psycopg.connect(owner_url, autocommit=True) as connection:
            purge(connection)

    for reader in (me, others[0]):
        shown = sign_in(reader).get(GROUPS).json
        assert [(one["message"], one["unread_count"]) for one in shown] == [
            *((f"of {name}", 2 if reader is me else 0) for name in (("b", "c", "a") if reader is me else ("a",)))
        ]
    assert sign_in(others[3]).get(GROUPS).json == []


def test_ended_conversation_returns_with_its_next_message(sign_in: SignIn, make: Make) -> None:
    me, other = make.user("me"), make.user("other")
    group = make.conversation(me, other)
    make.message(group, other, "expired", age="1 hour", ttl="1 hour")
    client = sign_in(me)
    assert client.get(GROUPS).json == []

    response = sign_in(other).post("/api/messages", json={"message": "again", "handle": "me", "ttl": "1-hour"})

    assert response.json == {"message_group_uuid": str(group)}
    (shown,) = client.get(GROUPS).json
    assert (shown["uuid"], shown["message"], shown["unread_count"]) == (str(group), "again", 1)
    (message,) = client.get(f"/api/messages/{group}").json
    assert shown["expires_at"] == message["expires_at"] is not None


def test_message_may_end_in_any_order(sign_in: SignIn, make: Make) -> None:
    rng, me, other = random.Random(4567), make.user("me"), make.user("other")
    group = make.conversation(me, other)
    client = sign_in(me)
    ttls = [None, *(f"{n} minutes" for n in (10, 20, 30, 40))]

    for n in range(60):
        make.message(group, other, str(n), age=f"{rng.randrange(60)} minutes", ttl=rng.choice(ttls[n < 30 :]))

        live = client.get(f"/api/messages/{group}").json
        groups = client.get(GROUPS).json
        assert [(one["message"], one["created_at"]) for one in groups] == [
            (one["message"], one["created_at"]) for one in live[-1:]
        ]


def test_senders_message_still_counts_as_read_after_its_end(sign_in: SignIn, make: Make) -> None:
    me, other = make.user("me"), make.user("other")
    group = make.conversation(other, me, "first", "second")
    assert sign_in(me).get(GROUPS).json[0]["unread_count"] == 2
    body = {"message": "third", "message_group_uuid": str(group), "ttl": "1-hour"}
    assert sign_in(me).post("/api/messages", json=body).status_code == 200
    assert sign_in(me).get(GROUPS).json[0]["unread_count"] == 0

    make.owner.execute("DELETE FROM messages WHERE message = 'third'")
    # The candidates do not know of a deletion by hand: the next message brings the conversation back.
    make.message(group, other, "fourth")

    (shown,) = sign_in(me).get(GROUPS).json
    assert (shown["message"], shown["unread_count"]) == ("fourth", 1)


def test_list_is_limited_to_20_conversations(sign_in: SignIn, make: Make) -> None:
    me = make.user("me")
    # Enough for more than 20 conversations in which the user is the lesser member, and 20 as the greater.
    for n in range(80):
        group = make.conversation(me, make.user(f"other{n}"))
        make.message(group, me, "hello", age=f"{100 - n} minutes")

    handles = [one["handle"] for one in sign_in(me).get(GROUPS).json]

    assert handles == [f"other{n}" for n in range(79, 59, -1)]

    # An ended conversation leaves its place to the next one.
    for _ in range(30):
        make.message(make.conversation(me, make.user()), me, "expired", age="5 minutes", ttl="1 minute")
    assert [one["handle"] for one in sign_in(me).get(GROUPS).json] == handles
