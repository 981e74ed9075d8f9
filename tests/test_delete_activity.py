"""Taking back what one has posted."""

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from uuid import uuid4

import pytest

from tests.conftest import SignIn
from tests.make import Activity, Make, User


def path(activity: Activity) -> str:
    """Where an activity is deleted."""
    return f"/api/activities/{activity.uuid}"


@pytest.mark.usefixtures("bystander")
def test_what_is_deleted_is_gone_with_its_replies_and_nothing_else(sign_in: SignIn, make: Make) -> None:
    author, other = make.user("author"), make.user("other")
    deleted, kept = make.activity(author, "deleted"), make.activity(author, "kept")
    reply = make.activity(other, "gone too", reply_to=deleted)
    make.activity(author, "and this", reply_to=reply)
    make.activity(other, "stays", reply_to=kept)

    answer = sign_in(author).delete(path(deleted))

    assert (answer.status_code, answer.json) == (200, {"uuid": str(deleted.uuid)})
    assert sorted(make.messages()) == ["kept", "stays"]
    assert make.counts()[kept.uuid] == 1
    assert sign_in(author).delete(path(deleted)).status_code == 404


@pytest.mark.usefixtures("bystander")
def test_a_reply_that_is_deleted_is_not_counted_any_more(sign_in: SignIn, make: Make) -> None:
    author, other = make.user("author"), make.user("other")
    question = make.activity(author)
    first = make.activity(other, reply_to=question)
    second = make.activity(other, reply_to=question)

    # Whom it answers may not take it away.
    assert sign_in(author).delete(path(first)).status_code == 404
    assert sign_in(other).delete(path(first)).status_code == 200

    assert make.counts() == {question.uuid: 1, second.uuid: 0}


def test_what_is_anothers_or_not_there_cannot_be_deleted(sign_in: SignIn, make: Make, bystander: User) -> None:
    author = make.user("author")
    expired = make.activity(author, age="1 hour", ttl="1 hour")
    (theirs,) = make.owner.execute(
        "SELECT uuid FROM activities WHERE user_uuid = %s AND reply_to_activity_uuid IS NULL", [bystander.uuid]
    ).fetchone()

    for uuid in (theirs, expired.uuid, uuid4()):
        answer = sign_in(author).delete(f"/api/activities/{uuid}")
        assert (answer.status_code, answer.json) == (404, ["not_found"])
    assert make.counts() == {expired.uuid: 0}


@pytest.mark.usefixtures("bystander")
def test_what_hangs_together_is_deleted_by_many_at_once_without_a_deadlock(sign_in: SignIn, make: Make) -> None:
    author, others = make.user("author"), [make.user() for _ in range(8)]
    for _ in range(8):
        question = make.activity(author)
        doomed = [(author, question)]
        for other in others:
            reply = make.activity(other, reply_to=question)
            doomed += [(other, reply), (author, make.activity(author, reply_to=reply))]

        with ThreadPoolExecutor(len(doomed)) as pool:
            answers = list(pool.map(lambda one: sign_in(one[0]).delete(path(one[1])), doomed))

        assert {answer.status_code for answer in answers} <= {HTTPStatus.OK, HTTPStatus.NOT_FOUND}
        assert answers[0].status_code == HTTPStatus.OK
    assert make.messages() == []
