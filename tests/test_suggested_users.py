"""Suggested users: GET `/api/users/suggested`."""

import psycopg
import pytest
from flask.testing import FlaskClient

from tests.conftest import SignIn
from tests.factories import Make, User

SUGGESTED = "/api/users/suggested"


def suggested(client: FlaskClient) -> list[str]:
    """Return the handles of the suggested users, in order."""
    response = client.get(SUGGESTED)
    assert (response.status_code, response.headers["Cache-Control"]) == (200, "private, no-store")
    return [row["handle"] for row in response.json]


def users(make: Make, *handles: str) -> list[User]:
    """Insert users by their handles."""
    return [make.user(handle) for handle in handles]


@pytest.mark.usefixtures("bystander")
def test_suggestions_are_followed_by_followed_users_then_followed_authors(
    sign_in: SignIn, make: Make, owner: psycopg.Connection
) -> None:
    lin, kofi, mira, zoe, ada, bo = users(make, "lin", "kofi", "mira", "zoe", "ada", "bo")
    # The bystander and the friend follow each other, and have live activities.
    client, others = sign_in(lin), ["bystander", "friend"]
    assert sorted(suggested(client)) == others

    make.activity(ada)
    make.follow(bo, ada)
    make.follow(zoe, ada)
    # An author with more followers comes first. A user without a live activity is no suggestion.
    assert suggested(client)[0] == "ada"
    assert sorted(suggested(client)) == ["ada", *others]

    make.follow(lin, kofi, mira)
    make.follow(kofi, lin, mira, zoe, bo)
    make.follow(mira, zoe)
    # Two of the followed users follow zoe, and one follows bo. The reader and the followed users are no suggestions.
    assert suggested(client)[:3] == ["zoe", "bo", "ada"]
    assert sorted(suggested(client)[3:]) == others

    first = client.get(SUGGESTED).json[0]
    assert first == {"uuid": str(zoe.uuid), "handle": "zoe", "display_name": zoe.display_name}
    make.mute(lin, zoe, ttl="1 hour")
    make.block(bo, lin)
    make.block(lin, ada)
    assert sorted(suggested(client)) == others
    owner.execute("UPDATE mutes SET expires_at = now() WHERE muter_uuid = %s", [lin.uuid])
    assert suggested(client)[0] == "zoe"
    client.put("/api/users/@zoe/follow")
    assert sorted(suggested(client)) == others


def test_at_most_5_users_are_suggested_and_no_expired_author(sign_in: SignIn, make: Make) -> None:
    lin, *authors = users(make, "lin", "one", "two", "three", "four", "five", "six")
    client = sign_in(lin)
    for author in authors[:5]:
        activity = make.activity(author)
    assert sorted(suggested(client)) == ["five", "four", "one", "three", "two"]

    make.activity(authors[5])
    make.follow(authors[0], authors[5])
    assert len(suggested(client)) == 5
    assert suggested(client)[0] == "six"

    make.expire(activity)
    assert sorted(suggested(client)) == ["four", "one", "six", "three", "two"]
