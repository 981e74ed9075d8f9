"""Deleting an activity."""

import random
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from uuid import uuid4

import psycopg
import pytest

from harness.waiting import wait_until
from lib.pool import THREADS
from lib.purge import Purged, purge_batch
from tests.conftest import SignIn
from tests.factories import Activity, Make, User
from tests.processes import waits


def path(activity: Activity) -> str:
    """Return the path for deleting an activity."""
    return f"/api/activities/{activity.uuid}"


@pytest.mark.usefixtures("bystander")
def test_deletion_removes_the_activity_and_its_replies_only(sign_in: SignIn, make: Make) -> None:
    author, other = make.user("author"), make.user("other")
    doomed, kept = make.activity(author, "deleted"), make.activity(author, "kept")
    reply = make.activity(other, "gone too", reply_to=doomed)
    make.activity(author, "and this", reply_to=reply)
    make.activity(other, "stays", reply_to=kept)

    response = sign_in(author).delete(path(doomed))

    assert (response.status_code, response.json) == (200, {"uuid": str(doomed.uuid)})
    assert sorted(make.messages()) == ["kept", "stays"]
    assert make.counts()[kept.uuid] == 1
    assert sign_in(author).delete(path(doomed)).status_code == 404


@pytest.mark.usefixtures("bystander")
def test_deleted_reply_is_no_longer_counted(sign_in: SignIn, make: Make) -> None:
    author, other = make.user("author"), make.user("other")
    question = make.activity(author)
    first = make.activity(other, reply_to=question)
    second = make.activity(other, reply_to=question)

    # The author of the parent may not delete a reply.
    assert sign_in(author).delete(path(first)).status_code == 404
    assert sign_in(other).delete(path(first)).status_code == 200

    assert make.counts() == {question.uuid: 1, second.uuid: 0}


def test_deleting_anothers_expired_or_unknown_activity_is_not_found(
    sign_in: SignIn, make: Make, bystander: User
) -> None:
    author = make.user("author")
    expired = make.activity(author, age="1 hour", ttl="1 hour")
    (theirs,) = make.owner.execute(
        "SELECT uuid FROM activities WHERE user_uuid = %s AND reply_to_activity_uuid IS NULL", [bystander.uuid]
    ).fetchone()

    for uuid in (theirs, expired.uuid, uuid4()):
        response = sign_in(author).delete(f"/api/activities/{uuid}")
        assert (response.status_code, response.json) == (404, ["not_found"])
    remaining = make.owner.execute("SELECT uuid FROM activities WHERE user_uuid = %s", [author.uuid]).fetchall()
    assert remaining == [(expired.uuid,)]


@pytest.mark.usefixtures("bystander")
def test_concurrent_deletions_within_a_thread_do_not_deadlock(sign_in: SignIn, make: Make) -> None:
    author, others = make.user("author"), [make.user() for _ in range(8)]
    for _ in range(8):
        question = make.activity(author)
        doomed = [(author, question)]
        for other in others:
            reply = make.activity(other, reply_to=question)
            doomed += [(other, reply), (author, make.activity(author, reply_to=reply))]

        with ThreadPoolExecutor(len(doomed)) as pool:
            responses = list(pool.map(lambda one: sign_in(one[0]).delete(path(one[1])), doomed))

        assert {response.status_code for response in responses} <= {HTTPStatus.OK, HTTPStatus.NOT_FOUND}
        assert responses[0].status_code == HTTPStatus.OK
    assert make.messages() == []


def test_deleted_thread_is_absent_from_every_route(sign_in: SignIn, make: Make, bystander: User) -> None:
    author, other = make.user("author"), make.user("other")
    root = make.activity(author, "a quokka")
    last = root
    for _ in range(30):
        last = make.activity(other, "a quokka too", reply_to=last)
    make.mention(last, author)
    reader = sign_in(author)
    assert len(reader.get("/api/activities/notifications").json) == 2

    assert reader.delete(path(root)).status_code == 200

    for feed in ("/api/activities/notifications", "/api/activities/search?term=quokka"):
        assert reader.get(feed).json == []
    for handle in ("author", "other"):
        assert reader.get(f"/api/activities/@{handle}").json["activities"] == []
    handles = {shown["handle"] for shown in reader.get("/api/activities/home").json}
    assert handles == {"friend", bystander.handle}
    for activity, handle in ((root, "author"), (last, "other")):
        assert reader.get(f"/api/activities/@{handle}/status/{activity.uuid}").status_code == 404
        assert reader.post(f"{path(activity)}/reply", json={"message": "hello"}).status_code == 404


REPLIES = """
    INSERT INTO activities (user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid, expires_at)
    SELECT %(author)s, 'a reply', %(parent)s, %(author)s, now() + interval '7 days' FROM generate_series(1, %(count)s)
"""
# The number of replies that one statement expires, without the activity itself.
DESCENDANTS = 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("left", [0, 1, 7])
def test_purge_finishes_deletion_of_more_than_10000_replies(
    sign_in: SignIn, make: Make, service_url: str, left: int
) -> None:
    author = make.user("author")
    question = make.activity(author, "why?")
    root = make.activity(author, "root", reply_to=question)
    make.owner.execute(REPLIES, {"author": author.uuid, "parent": root.uuid, "count": DESCENDANTS - 1})
    parent = make.activity(author, "the last", reply_to=root)
    for _ in range(left):
        parent = make.activity(author, "below the last", reply_to=parent)

    assert sign_in(author).delete(path(root)).status_code == 200

    # A slow machine may not expire all of the replies within the second.
    assert len(make.messages()) >= 1 + left
    with psycopg.connect(service_url, autocommit=True) as service:
        while purge_batch(service) != Purged(0, 0, 0, 0, None):
            pass
    assert make.counts() == {question.uuid: 0}
    assert make.owner.execute("SELECT count(*) FROM activities WHERE user_uuid = %s", [author.uuid]).fetchone() == (1,)
    assert make.owner.execute("SELECT count(*) FROM unfinished_threads").fetchone() == (0,)


@pytest.mark.usefixtures("bystander")
def test_reply_during_a_deletion_is_not_found(sign_in: SignIn, make: Make, owner_url: str) -> None:
    author, other = make.user("author"), make.user("other")
    root = make.activity(author, "root")
    with psycopg.connect(owner_url) as deleting, ThreadPoolExecutor(1) as pool:
        deleting.execute("SELECT end_activity(%s, %s)", [root.uuid, author.uuid])
        # The reply's snapshot is older than the deletion, and its now() may be older too.
        replying = pool.submit(sign_in(other).post, f"{path(root)}/reply", json={"message": "too late"})
        wait_until(lambda: waits(owner_url))
        deleting.commit()

        response = replying.result()

    assert (response.status_code, response.json) == (404, ["not_found"])
    assert make.owner.execute("SELECT count(*) FROM activities WHERE message = 'too late'").fetchone() == (0,)


@pytest.mark.usefixtures("bystander")
def test_reply_whose_transaction_precedes_the_deletion_is_not_found(
    sign_in: SignIn, make: Make, owner_url: str
) -> None:
    author, other = make.user("author"), make.user("other")
    root = make.activity(author, "root")
    with psycopg.connect(owner_url) as holding, ThreadPoolExecutor(1) as pool:
        holding.execute(
            "INSERT INTO idempotency_keys (user_uuid, key, fingerprint, made) VALUES (%s, 'a key', '', %s)",
            [other.uuid, root.uuid],
        )
        # The reply's transaction waits for the key. Its now() is earlier than the expiry of its parent.
        replying = pool.submit(
            sign_in(other).post,
            f"{path(root)}/reply",
            json={"message": "too late"},
            headers={"Idempotency-Key": "a key"},
        )
        wait_until(lambda: waits(owner_url))
        assert sign_in(author).delete(path(root)).status_code == 200
        holding.rollback()

        response = replying.result()

    assert (response.status_code, response.json) == (404, ["not_found"])
    assert make.owner.execute("SELECT count(*) FROM activities WHERE message = 'too late'").fetchone() == (0,)


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_uncommitted_reply_is_deleted_with_its_thread(sign_in: SignIn, make: Make, owner_url: str, depth: int) -> None:
    author, other = make.user("author"), make.user("other")
    root = parent = make.activity(author, "root")
    for _ in range(depth):
        parent = make.activity(author, "between", reply_to=parent)
    with psycopg.connect(owner_url) as replying, ThreadPoolExecutor(1) as pool:
        replying.execute(REPLIES, {"author": other.uuid, "parent": parent.uuid, "count": 1})
        deleting = pool.submit(sign_in(author).delete, path(root))
        wait_until(lambda: waits(owner_url))
        replying.commit()

        assert deleting.result().status_code == 200

    assert make.messages() == []


@pytest.mark.usefixtures("bystander")
def test_reply_younger_than_the_deletion_is_deleted_with_its_thread(
    sign_in: SignIn, make: Make, owner_url: str
) -> None:
    author = make.user("author")
    root = make.activity(author, "root")
    with psycopg.connect(owner_url) as holding, ThreadPoolExecutor(1) as pool:
        holding.execute("SELECT FROM activities WHERE uuid = %s FOR NO KEY UPDATE", [root.uuid])
        deleting = pool.submit(sign_in(author).delete, path(root))
        wait_until(lambda: waits(owner_url))
        younger = make.owner.execute("SELECT clock_timestamp()").fetchone()
        holding.execute(
            "INSERT INTO activities"
            " (user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at)"
            " VALUES (%s, 'younger', %s, %s, %s, now() + interval '1 day')",
            [author.uuid, root.uuid, author.uuid, *younger],
        )
        holding.commit()

        assert deleting.result().status_code == 200

    assert make.messages() == []
    assert make.owner.execute("SELECT expires_at FROM activities WHERE message = 'younger'").fetchone() == younger
    assert make.owner.execute("SELECT FROM unfinished_threads").fetchall() == []


@pytest.mark.usefixtures("bystander")
def test_deletion_after_a_wait_of_one_second_still_expires_replies(make: Make) -> None:
    author = make.user("author")
    root = make.activity(author, "root")
    make.owner.execute(REPLIES, {"author": author.uuid, "parent": root.uuid, "count": 100})

    # One protocol message, so that both statements share the statement_timestamp() of its start.
    make.owner.execute(f"SELECT pg_sleep(1); SELECT end_activity('{root.uuid}', '{author.uuid}')".encode())

    assert make.messages() == []


@pytest.mark.usefixtures("bystander")
def test_reply_counts_are_exact_under_concurrent_replies_and_deletions(sign_in: SignIn, make: Make) -> None:
    author, people = make.user("author"), [make.user() for _ in range(6)]
    question = make.activity(author, "question")
    clients = {person: sign_in(person) for person in [author, *people]}

    def take_part(person: User) -> set[int]:
        """Reply to the question and to that reply, and delete every second reply."""
        statuses = set()
        for number in range(12):
            reply = clients[person].post(f"{path(question)}/reply", json={"message": "a reply"})
            below = clients[author].post(f"/api/activities/{reply.json['uuid']}/reply", json={"message": "below"})
            statuses |= {reply.status_code, below.status_code}
            if number % 2:
                statuses.add(clients[person].delete(f"/api/activities/{reply.json['uuid']}").status_code)
        return statuses

    with ThreadPoolExecutor(THREADS) as pool:
        assert set.union(*pool.map(take_part, people)) == {HTTPStatus.OK}

    live = make.owner.execute(COUNTS).fetchall()
    assert [(uuid, count) for uuid, count, counted in live if count != counted] == []
    assert make.counts()[question.uuid] == 6 * len(people)


COUNTS = """
    SELECT
        parent.uuid,
        parent.replies_count,
        (SELECT count(*) FROM live_activities AS reply WHERE reply.reply_to_activity_uuid = parent.uuid)
    FROM live_activities AS parent
"""
# Live replies whose parent has expired.
ORPHANS = """
    SELECT count(*)
    FROM live_activities AS reply
    LEFT JOIN live_activities AS parent ON parent.uuid = reply.reply_to_activity_uuid
    WHERE reply.reply_to_activity_uuid IS NOT NULL AND parent.uuid IS NULL
"""


@pytest.mark.usefixtures("bystander")
def test_concurrent_deletion_leaves_no_orphaned_reply(sign_in: SignIn, make: Make) -> None:
    people = [make.user() for _ in range(8)]
    clients = [sign_in(person) for person in people]
    for _ in range(6):
        root = make.activity(people[0], "root")
        replies = [make.activity(person, "a reply", reply_to=root) for person in people]
        targets = [root, *replies]

        def reply_or_delete(number: int, targets: list[Activity] = targets) -> int:
            """Delete an activity as its author, or reply to an activity."""
            target = targets[number % len(targets)]
            if number < len(targets):
                return clients[people.index(target.author)].delete(path(target)).status_code
            client = clients[number % len(clients)]
            return client.post(f"{path(target)}/reply", json={"message": "meanwhile"}).status_code

        order = list(range(4 * len(targets)))
        random.Random(4567).shuffle(order)
        with ThreadPoolExecutor(THREADS) as pool:
            assert set(pool.map(reply_or_delete, order)) <= {HTTPStatus.OK, HTTPStatus.NOT_FOUND}

        assert make.owner.execute(ORPHANS).fetchone() == (0,)
    assert make.messages() == []
