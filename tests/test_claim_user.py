"""bin/db-claim-user: a stand-in of the journal's gets the sub of a user of the user pool."""

from hashlib import sha256

import pytest
from flask.testing import FlaskClient
from psycopg import Connection

from ops.claim_user import FORGOTTEN, REFERENCES
from ops.journal_rows import STAND_IN
from tests.conftest import SignIn
from tests.factories import Make, User
from tests.in_process import fails, script, succeeds

pytestmark = pytest.mark.slow

SUB = "abcdef01-0000-4000-8000-000000000000"
USERS = "SELECT handle, cognito_user_id, email FROM users WHERE handle NOT IN ('bystander', 'friend') ORDER BY handle"


@pytest.fixture
def stand_in(make: Make) -> User:
    """Insert a stand-in with an activity and an e-mail address."""
    user = make.user("andrewbrown")
    sub = f"{STAND_IN}{user.uuid}"
    make.owner.execute(
        "UPDATE users SET cognito_user_id = %s, email = 'mock@example.com' WHERE uuid = %s", [sub, user.uuid]
    )
    make.activity(user, "from the journal")
    return User(user.uuid, user.handle, user.display_name, sub)


def signed_in(make: Make, handle: str, email: str | None = "lin@example.com") -> User:
    """Insert the row of a user who has signed in with `SUB`."""
    user = make.user(handle)
    make.owner.execute("UPDATE users SET cognito_user_id = %s, email = %s WHERE uuid = %s", [SUB, email, user.uuid])
    return User(user.uuid, user.handle, user.display_name, SUB)


def users(owner: Connection) -> list[tuple[object, ...]]:
    """Return the users except the bystander and friend."""
    return owner.execute(USERS).fetchall()


@pytest.mark.usefixtures("bystander")
def test_user_of_the_pool_gets_the_stand_in(
    client: FlaskClient, sign_in: SignIn, owner_url: str, make: Make, stand_in: User
) -> None:
    line = succeeds("db-claim-user", "ANDREWBROWN", SUB.upper(), CONNECTION_URL=owner_url)

    assert line.endswith(f": user andrewbrown belongs to {SUB}\n")
    assert users(make.owner) == [("andrewbrown", SUB, "mock@example.com")]
    theirs = sign_in(User(stand_in.uuid, stand_in.handle, stand_in.display_name, SUB))
    assert theirs.post("/api/activities", json={"message": "It is me", "ttl": "1-day"}).status_code == 200
    messages = [shown["message"] for shown in client.get("/api/activities/@andrewbrown").json["activities"]]
    assert messages == ["It is me", "from the journal"]


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("email", ["lin@example.com", None])
def test_row_of_an_earlier_sign_in_goes(
    sign_in: SignIn, owner_url: str, make: Make, stand_in: User, email: str | None
) -> None:
    former = signed_in(make, "andrewbrown_1a2b", email)
    make.owner.execute("INSERT INTO read_markers VALUES (%s, 'notifications', now())", [former.uuid])

    line = succeeds("db-claim-user", "andrewbrown", SUB, CONNECTION_URL=owner_url)

    assert line.endswith(f": user andrewbrown belongs to {SUB}; the user andrewbrown_1a2b, without rows, is removed\n")
    assert users(make.owner) == [("andrewbrown", SUB, email or "mock@example.com")]
    assert sign_in(former).get("/api/users/me").json["uuid"] == str(stand_in.uuid)


@pytest.mark.usefixtures("stand_in")
def test_row_with_other_rows_stays(subtests: pytest.Subtests, owner_url: str, make: Make) -> None:
    former = signed_in(make, "lin")
    other = make.user("other")
    post = make.activity(other)
    for table, statement in {
        "likes": "INSERT INTO likes (activity_uuid, user_uuid) VALUES (%(post)s, %(mine)s)",
        "follows": "INSERT INTO follows (follower_uuid, followed_uuid) VALUES (%(other)s, %(mine)s)",
        "mutes": "INSERT INTO mutes (muter_uuid, muted_uuid) VALUES (%(mine)s, %(other)s)",
        "activities": "INSERT INTO activities (user_uuid, message) VALUES (%(mine)s, 'mine')",
    }.items():
        with subtests.test(table):
            row = {"mine": former.uuid, "post": post.uuid, "other": other.uuid}
            make.owner.execute(statement.encode(), row)
            before = users(make.owner)

            line = fails("db-claim-user", "andrewbrown", SUB, CONNECTION_URL=owner_url)

            assert line.startswith(f"cruddur: the sub belongs to lin, which has rows in {table}: ")
            assert users(make.owner) == before
            make.owner.execute(f"DELETE FROM {table}".encode())


def test_every_table_that_names_users_counts(owner: Connection) -> None:
    tables = {table for table, _ in owner.execute(REFERENCES)}

    assert tables >= FORGOTTEN
    assert tables - FORGOTTEN == {
        *("activities", "likes", "reposts", "follows", "mentionings", "mutes", "blocks", "reports", "deletions"),
        *("message_groups", "messages", "idempotency_keys"),
    }


@pytest.mark.usefixtures("bystander", "stand_in")
def test_refusals_change_nothing(owner_url: str, make: Make) -> None:
    make.user("kofi")
    gone = make.user("gone")
    deleted = "abcdef02-0000-4000-8000-000000000000"
    make.owner.execute("UPDATE users SET cognito_user_id = %s WHERE uuid = %s", [deleted, gone.uuid])
    make.owner.execute("SELECT request_deletion(%s, '1 day', gen_random_uuid())", [deleted])
    make.owner.execute("SELECT confirm_deletion(%s, 'deleted')", [sha256(deleted.encode()).digest()])
    before = users(make.owner)

    for handle, sub, said in (
        ("missing", SUB, "no user has the handle missing: "),
        ("n\u00f6", SUB, "no user has the handle n?: "),
        ("kofi", SUB, "kofi is no stand-in: the user has a sub already"),
        ("andrewbrown", deleted, "the user with this sub was deleted"),
        *(("andrewbrown", sub, "SUB is malformed: ") for sub in ("", "MOCK", SUB[:-1], f"{SUB}0", f"{{{SUB}}}")),
    ):
        assert fails("db-claim-user", handle, sub, CONNECTION_URL=owner_url).startswith(f"cruddur: {said}")
    assert users(make.owner) == before


@pytest.mark.usefixtures("bystander", "stand_in")
def test_production_is_untouched_without_its_name(owner_url: str, make: Make) -> None:
    signed_in(make, "lin")
    before = users(make.owner)
    name = make.owner.info.dbname

    result = script("db-claim-user", "prod", "andrewbrown", SUB, answer="cruddur\n", PROD_CONNECTION_URL=owner_url)

    assert result.returncode == 1
    asked = f"This removes the user lin of this sub, and gives the user andrewbrown to the sub {SUB} in {name} on "
    assert result.stderr.startswith(asked)
    assert users(make.owner) == before
    confirm = ("--confirm", name)
    succeeds("db-claim-user", "prod", "andrewbrown", SUB, *confirm, PROD_CONNECTION_URL=owner_url)
    assert users(make.owner) == [("andrewbrown", SUB, "lin@example.com")]
