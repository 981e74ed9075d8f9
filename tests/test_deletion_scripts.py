"""bin/db-deletions and bin/db-delete-user."""

from hashlib import sha256
from types import SimpleNamespace

import psycopg
import pytest
from psycopg import Connection

from ops import delete_user
from ops import deletions as deletion_commands
from tests.factories import Make, User
from tests.in_process import fails, script, succeeds

POOL = 'aws cognito-idp admin-delete-user --user-pool-id "$AWS_COGNITO_USER_POOL_ID" --username'


def deletions(owner: Connection) -> list[tuple[object, ...]]:
    """Return outcome, kept sub and the state of each deletion."""
    return owner.execute("SELECT outcome, cognito_user_id, finished_at IS NOT NULL FROM deletions").fetchall()


def hash_of(user: User) -> str:
    """Return the hash of a user's sub."""
    return sha256(user.cognito_user_id.encode()).hexdigest()


def request(owner: Connection, user: User) -> None:
    """Store a requested deletion."""
    owner.execute("SELECT request_deletion(%s, interval '35 days', gen_random_uuid())", [user.cognito_user_id])


def confirm(owner: Connection, user: User, outcome: str) -> None:
    """Confirm a requested deletion."""
    owner.execute("SELECT confirm_deletion(decode(%s, 'hex'), %s)", [hash_of(user), outcome])


@pytest.mark.usefixtures("bystander")
def test_list_has_open_and_unknown_deletions(owner: Connection, owner_url: str, make: Make) -> None:
    assert "no open deletions" in succeeds("db-deletions", CONNECTION_URL=owner_url)
    requested, unknown, deleted, ended = (make.user() for _ in range(4))
    for user in (requested, unknown, deleted, ended):
        request(owner, user)
    confirm(owner, unknown, "unknown")
    for user in (deleted, ended):
        confirm(owner, user, "deleted")
    make.activity(unknown)
    owner.execute("UPDATE deletions SET finished_at = now() WHERE user_uuid = %s", [ended.uuid])

    lines = script("db-deletions", CONNECTION_URL=owner_url).stdout.splitlines()

    states = {line.split()[0]: line for line in lines[1:]}
    assert states[hash_of(requested)].endswith("requested  waits for the user pool")
    assert states[hash_of(unknown)].endswith("unknown    activities remain")
    assert states[hash_of(deleted)].endswith("deleted    rows remain")
    assert hash_of(ended) not in states
    assert f"    {POOL} {unknown.cognito_user_id}" in lines
    assert sum(POOL in line for line in lines) == 1


def test_close_ends_an_unknown_deletion_alone(owner: Connection, owner_url: str, make: Make) -> None:
    user, waiting = make.user(), make.user()
    for each in (user, waiting):
        request(owner, each)
    confirm(owner, user, "unknown")

    assert "waits for the user pool" in fails("db-deletions", "close", hash_of(waiting), CONNECTION_URL=owner_url)
    assert "no deletion has" in fails("db-deletions", "close", "0" * 64, CONNECTION_URL=owner_url)
    prefix = hash_of(user)[:8].upper()
    assert "closed" in succeeds("db-deletions", "close", prefix, CONNECTION_URL=owner_url)
    assert "was closed already" in succeeds("db-deletions", "close", prefix, CONNECTION_URL=owner_url)

    assert sorted(deletions(owner), key=str) == [
        ("deleted", None, False),
        ("requested", waiting.cognito_user_id, False),
    ]


def test_closed_deletion_outlives_the_users_tokens(owner: Connection, owner_url: str, make: Make) -> None:
    expired, other = make.user(), make.user()
    for user in (expired, other):
        request(owner, user)
        confirm(owner, user, "unknown")
    owner.execute("UPDATE deletions SET in_ledger = true")
    expire = "UPDATE deletions SET expires_at = now() - interval '1 day' WHERE cognito_user_id = %s"
    owner.execute(expire, [expired.cognito_user_id])
    for user in (expired, other):
        succeeds("db-deletions", "close", hash_of(user), CONNECTION_URL=owner_url)

    ends = owner.execute(
        "SELECT round(extract(epoch FROM expires_at - now()) / 86400), in_ledger FROM deletions ORDER BY expires_at"
    )

    assert ends.fetchall() == [(1, False), (35, False)]


def test_command_for_the_user_pool_quotes_the_sub() -> None:
    assert deletion_commands.pool_command("a; b").endswith(" --username 'a; b'")


@pytest.mark.parametrize("days", ["1", "3650"])
def test_limits_of_the_retention(monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    monkeypatch.setenv("BACKUP_RETENTION_DAYS", days)

    assert delete_user.retention_days() == days


@pytest.mark.usefixtures("bystander")
def test_user_is_deleted_by_letter(
    owner: Connection, owner_url: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make.user("andrewbrown")
    make.activity(user)
    # The deletion waits for ten seconds. Each pause counts as as many here.
    earlier = "UPDATE deletions SET confirmed_at = confirmed_at - interval '70 seconds' WHERE finished_at IS NULL"
    monkeypatch.setattr(delete_user, "time", SimpleNamespace(sleep=lambda _: owner.execute(earlier)))

    result = script("db-delete-user", "AndrewBrown", CONNECTION_URL=owner_url)

    assert result.returncode == 0
    assert f"    {POOL} {user.cognito_user_id}" in result.stdout.splitlines()
    assert f"    bin/db-deletions close {hash_of(user)[:8]}" in result.stdout.splitlines()
    assert deletions(owner) == [("unknown", user.cognito_user_id, True)]
    assert owner.execute("SELECT FROM users WHERE uuid = %s", [user.uuid]).fetchall() == []
    assert owner.execute("SELECT FROM activities WHERE user_uuid = %s", [user.uuid]).fetchall() == []
    assert "no user has the handle" in fails("db-delete-user", "andrewbrown", CONNECTION_URL=owner_url)


def test_deletion_by_letter_refuses_the_user_before_the_names_go(
    owner: Connection, owner_url: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make.user("andrewbrown")
    seen = []

    def look(connection: Connection, statement: str, parameters: list[object]) -> object:
        if statement == delete_user.CONFIRM:
            seen.extend(deletions(owner))
        return execute(connection, statement, parameters)

    execute = Connection.execute
    with psycopg.connect(owner_url, autocommit=True) as connection, monkeypatch.context() as patch:
        earlier = "UPDATE deletions SET confirmed_at = confirmed_at - interval '70 seconds' WHERE finished_at IS NULL"
        patch.setattr(delete_user, "time", SimpleNamespace(sleep=lambda _: owner.execute(earlier)))
        patch.setattr(connection, "execute", lambda *args: look(connection, *args))
        delete_user.delete(connection, user.cognito_user_id, "35")

    # A creation of the user that waits for the confirmation finds the request.
    assert seen == [("requested", user.cognito_user_id, False)]


@pytest.mark.usefixtures("bystander")
def test_production_asks_for_the_databases_name(owner: Connection, owner_url: str, make: Make) -> None:
    make.user("andrewbrown")

    line = fails("db-delete-user", "prod", "andrewbrown", answer="another\n", PROD_CONNECTION_URL=owner_url)

    assert "nothing was done" in line
    assert deletions(owner) == []
    for days in ("x", "0", "3651", "-1"):
        assert "a whole number from 1 to 3650" in fails(
            "db-delete-user", "andrewbrown", CONNECTION_URL=owner_url, BACKUP_RETENTION_DAYS=days
        )
    assert deletions(owner) == []
