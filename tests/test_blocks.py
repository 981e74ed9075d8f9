"""Blocks: PUT and DELETE of a user's `block`, the list, and every path between the two users."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import permutations, product
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import SignIn, rows_of
from tests.factories import Activity, Make, User
from tests.tokens import bearer

BLOCKED = "/api/users/blocked"
THREADS = 8
# The marks of what each of the two users wrote.
THEIRS = {"lin": "by-lin", "kofi": "by-kofi"}


def block_path(user: User) -> str:
    """Return the path of the current user's block of a user."""
    return f"/api/users/@{user.handle}/block"


@pytest.mark.usefixtures("bystander")
def test_block_ends_follows_and_is_listed(sign_in: SignIn, make: Make) -> None:
    lin, kofi, mira = (make.user(handle) for handle in ("lin", "kofi", "mira"))
    make.follow(lin, kofi, mira)
    make.follow(kofi, lin, mira)
    blocker = sign_in(lin)
    expected = {"uuid": str(kofi.uuid), "handle": "kofi", "following": False, "followed_by": False, "muting": False}

    for _ in range(2):
        response = blocker.put("/api/users/@KOFI/block")
        assert (response.status_code, response.json) == (200, expected | {"blocking": True})
        assert response.headers["Cache-Control"] == "private, no-store"
    assert make.follows() == [("kofi", "mira"), ("lin", "mira")]
    assert make.miscounted_follows() == []
    users = [{"uuid": str(kofi.uuid), "handle": "kofi", "display_name": kofi.display_name}]
    assert blocker.get(BLOCKED).json == users
    # The blocked user does not learn of the block, and has none.
    assert sign_in(kofi).get(BLOCKED).json == []
    assert sign_in(kofi).get("/api/users/relationships?handles=lin").json[0]["blocking"] is False

    for _ in range(2):
        response = blocker.delete(block_path(kofi))
        assert (response.status_code, response.json) == (200, expected | {"blocking": False})
    assert blocker.get(BLOCKED).json == []
    # Unblocking does not restore the follows.
    assert make.follows() == [("kofi", "mira"), ("lin", "mira")]
    for path, method, status, codes in (
        ("/api/users/@LIN/block", "PUT", 422, ["block_self"]),
        ("/api/users/@lin/block", "DELETE", 422, ["block_self"]),
        ("/api/users/@missing/block", "PUT", 404, ["not_found"]),
        ("/api/users/@missing/block", "DELETE", 404, ["not_found"]),
    ):
        response = blocker.open(path, method=method)
        assert (response.status_code, response.json) == (status, codes)


class Pair(NamedTuple):
    """The acting user, the other one, and what the paths between the two need."""

    user: User
    other: User
    # An activity and a reply of the other's.
    activity: Activity
    reply: Activity
    # A third user's thread, with replies of both.
    thread: Activity
    group: UUID

    def path(self, action: str) -> str:
        """Return the path of an action on the other's activity."""
        return f"/api/activities/{self.activity.uuid}/{action}"


# The feeds in which each user finds the other before a block, and not after it.
FEEDS: dict[str, Callable[[Pair], str]] = {
    "home": lambda _: "/api/activities/home",
    "personal home": lambda _: "/api/activities/following",
    "search": lambda _: "/api/activities/search?term=by",
    "rare search": lambda _: "/api/activities/search?term=by-",
    "hashtag": lambda _: "/api/activities/tagged/cloud",
    "notifications": lambda _: "/api/activities/notifications",
    "every notification": lambda _: "/api/notifications",
    "liked": lambda _: "/api/activities/liked",
    "replies": lambda pair: f"/api/activities/@mira/status/{pair.thread.uuid}",
    "reposts in a profile": lambda _: "/api/activities/@mira?reposts=true",
}
PUBLIC_FEEDS = {
    name: FEEDS[name] for name in ("home", "search", "rare search", "hashtag", "replies", "reposts in a profile")
}
# The paths of what belongs to the other user. The blocker still finds it, and the blocked user does not.
BELONGINGS: dict[str, Callable[[Pair], str]] = {
    "profile": lambda pair: f"/api/activities/@{pair.other.handle}",
    "profile with reposts": lambda pair: f"/api/activities/@{pair.other.handle}?reposts=true",
    "activity": lambda pair: f"/api/activities/@{pair.other.handle}/status/{pair.activity.uuid}",
    "reply": lambda pair: f"/api/activities/@{pair.other.handle}/status/{pair.reply.uuid}",
}
# The writes that would reach the other user.
WRITES: dict[str, Callable[[Pair], tuple[str, str, dict[str, Any]]]] = {
    "like": lambda pair: ("PUT", pair.path("like"), {}),
    "unlike": lambda pair: ("DELETE", pair.path("like"), {}),
    "repost": lambda pair: ("PUT", pair.path("repost"), {}),
    "unrepost": lambda pair: ("DELETE", pair.path("repost"), {}),
    "reply": lambda pair: ("POST", pair.path("reply"), {"message": "hello"}),
    "follow": lambda pair: ("PUT", f"/api/users/@{pair.other.handle}/follow", {}),
    "message": lambda pair: ("POST", "/api/messages", {"message": "hello", "message_group_uuid": str(pair.group)}),
    "message by handle": lambda pair: ("POST", "/api/messages", {"message": "hello", "handle": pair.other.handle}),
}
# The paths without sign-in stay public, and what the two have in common stays readable.
UNCHANGED: dict[str, Callable[[Pair], str]] = {
    "short": lambda pair: f"/api/users/@{pair.other.handle}/short",
    "likes": lambda pair: pair.path("likes"),
    "reposts": lambda pair: pair.path("reposts"),
    "conversations": lambda _: "/api/message_groups",
    "messages": lambda pair: f"/api/messages/{pair.group}",
}


def written(owner: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Return the numbers of rows that the writes above would add or remove."""
    tables = ("activities", "likes", "reposts", "follows", "messages", "message_groups")
    return owner.execute(
        " UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in tables).encode()
    ).fetchall()


@pytest.fixture
def pairs(make: Make) -> tuple[Pair, Pair]:
    """Create two users who follow, like, repost and mention each other, and a third; from both sides."""
    lin, kofi, mira = (make.user(handle) for handle in ("lin", "kofi", "mira"))
    thread = make.activity(mira, "a thread of mira's", age="1 minute")
    make.follow(lin, kofi, mira)
    make.follow(kofi, lin, mira)
    made = {}
    for user, other in ((lin, kofi), (kofi, lin)):
        activity = make.tag(make.activity(user, f"{THEIRS[user.handle]} @{other.handle} #cloud"), "cloud")
        make.mention(activity, other)
        make.like(activity, other)
        make.repost(activity, other, mira)
        made[user.handle] = activity, make.activity(user, THEIRS[user.handle], reply_to=thread)
    group = make.conversation(lin, kofi, "a message")
    return Pair(lin, kofi, *made["kofi"], thread, group), Pair(kofi, lin, *made["lin"], thread, group)


def shows(response: TestResponse, user: User) -> bool:
    """Return whether a response shows anything of a user's."""
    assert response.status_code == HTTPStatus.OK
    return THEIRS[user.handle].encode() in response.data or f'"handle":"{user.handle}"'.encode() in response.data


@pytest.mark.usefixtures("bystander")
def test_block_hides_each_user_from_the_other(
    subtests: pytest.Subtests, app: Flask, sign_in: SignIn, pairs: tuple[Pair, Pair]
) -> None:
    client, (blocker, blocked) = app.test_client(), pairs
    readers = [(pair, sign_in(pair.user)) for pair in pairs]
    for (pair, reader), (name, path) in product(readers, (FEEDS | BELONGINGS).items()):
        with subtests.test(f"before, {name}", user=pair.user.handle):
            assert shows(reader.get(path(pair)), pair.other)
    own = [rows_of(reader.get(f"/api/activities/@{pair.user.handle}")) for pair, reader in readers]
    unchanged = [reader.get(path(pair)).data for pair, reader in readers for path in UNCHANGED.values()]

    assert sign_in(blocker.user).put(block_path(blocked.user)).status_code == HTTPStatus.OK

    for (pair, reader), (name, path) in product(readers, FEEDS.items()):
        with subtests.test(name, user=pair.user.handle):
            assert not shows(reader.get(path(pair)), pair.other)
    for name, path in BELONGINGS.items():
        with subtests.test(name):
            assert shows(sign_in(blocker.user).get(path(blocker)), blocked.user)
            response = sign_in(blocked.user).get(path(blocked))
            assert (response.status_code, response.json) == (404, ["not_found"])
    for pair, (name, path) in product(pairs, (PUBLIC_FEEDS | BELONGINGS).items()):
        with subtests.test(f"anonymous, {name}", other=pair.other.handle):
            assert shows(client.get(path(pair)), pair.other)
    # What is left unread is the repost of a third user. A block changes nothing of the users' own, and nothing of what
    # the two had in common.
    for _, reader in readers:
        assert reader.get("/api/notifications/unread").json == {"count": 1, "is_more": False}
    assert [rows_of(reader.get(f"/api/activities/@{pair.user.handle}")) for pair, reader in readers] == own
    assert [reader.get(path(pair)).data for pair, reader in readers for path in UNCHANGED.values()] == unchanged


@pytest.mark.usefixtures("bystander")
def test_no_write_reaches_across_a_block(
    subtests: pytest.Subtests, sign_in: SignIn, make: Make, pairs: tuple[Pair, Pair]
) -> None:
    blocker, blocked = pairs
    sign_in(blocker.user).put(block_path(blocked.user))
    before = written(make.owner)
    for pair, (name, write) in product(pairs, WRITES.items()):
        with subtests.test(name, user=pair.user.handle):
            method, path, body = write(pair)
            response = sign_in(pair.user).open(path, method=method, json=body)
            assert (response.status_code, response.json) == (404, ["not_found"])
            assert written(make.owner) == before

    sign_in(blocker.user).delete(block_path(blocked.user))
    for pair, (name, write) in product(pairs, WRITES.items()):
        with subtests.test(f"after, {name}", user=pair.user.handle):
            method, path, body = write(pair)
            assert sign_in(pair.user).open(path, method=method, json=body).status_code == HTTPStatus.OK


@pytest.mark.usefixtures("bystander")
def test_no_follow_is_left_across_a_block(app: Flask, make: Make, owner: psycopg.Connection) -> None:
    users = [make.user(f"user{number}") for number in range(4)]

    def act(seed: int) -> set[int]:
        """Follow, block and unblock at random, and return the statuses of the responses."""
        chance, statuses = random.Random(seed), set()
        for _ in range(40):
            user, other = chance.sample(users, 2)
            method, word = chance.choice([("PUT", "follow"), ("PUT", "follow"), ("PUT", "block"), ("DELETE", "block")])
            path, headers = f"/api/users/@{other.handle}/{word}", bearer(user.cognito_user_id)
            statuses.add(app.test_client().open(path, method=method, headers=headers).status_code)
        return statuses

    with ThreadPoolExecutor(THREADS) as threads:
        statuses = set().union(*threads.map(act, range(THREADS)))

    assert statuses == {200, 404}
    across = """
        SELECT count(*) FROM follows
        JOIN block_pairs ON user_uuid = follower_uuid AND other_user_uuid = followed_uuid
        WHERE follower_uuid = ANY (%s)
    """
    assert owner.execute(across, [[user.uuid for user in users]]).fetchall() == [(0,)]
    assert make.miscounted_follows() == []


@pytest.mark.usefixtures("bystander")
def test_deleting_users_who_block_each_other_does_not_deadlock(make: Make, owner_url: str) -> None:
    def delete(user: User) -> None:
        """Delete a user in a session of its own."""
        with psycopg.connect(owner_url) as connection:
            connection.execute("DELETE FROM users WHERE uuid = %s", [user.uuid])

    for _ in range(3):
        users = [make.user() for _ in range(16)]
        for user, other in permutations(users, 2):
            make.block(user, other)
            make.mute(user, other)
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(delete, users))
