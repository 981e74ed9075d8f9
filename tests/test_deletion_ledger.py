"""Deleted users and backups: a restored database forgets the users who were deleted after its backup."""

import json
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from harness.postgres import rows
from lib import ledger
from lib.checks import SCHEMA
from lib.ledger import Deletion
from lib.purge import Purge, record_deletions
from ops.command import Database
from ops.create_database import create
from ops.deletion_ledger import beside
from ops.migrate import migrate
from tests.conftest import NEW
from tests.factories import Make, User, belongings
from tests.in_process import fails, script, succeeds

MARKER = "planted"
RETENTION = timedelta(days=35)
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture
def leaver(make: Make, bystander: User) -> User:
    """Return a user whose every text holds `MARKER`, and who shares threads and a conversation with the bystander."""
    user = make.user(f"{MARKER}_user", display_name=f"{MARKER} name", bio=f"{MARKER} bio")
    make.owner.execute(
        "UPDATE users SET email = %s, cognito_user_id = %s WHERE uuid = %s",
        [f"{MARKER}@example.com", f"{MARKER}-sub", user.uuid],
    )
    posted = make.tag(make.activity(user, f"a {MARKER} activity"), MARKER)
    other = make.user(f"{MARKER}_other")
    make.activity(other, "a reply", reply_to=posted)
    make.like(posted, user, other)
    make.repost(posted, user, other)
    make.follow(user, other)
    make.mute(other, user)
    make.block(user, other)
    make.report(user, other)
    make.conversation(user, other, "between two")
    assert bystander
    return user


@pytest.fixture
def file(tmp_path: Path, owner_url: str, leaver: User) -> Path:
    """Back up the database with the user in it."""
    file = tmp_path / "backups" / "before.dump"
    file.parent.mkdir()
    succeeds("db-backup", str(file), CONNECTION_URL=owner_url)
    assert leaver
    assert beside(file).read_text() == ""
    return file


def sub_hash(owner: Connection, user: User) -> str:
    """Return the SHA-256 of a user's `sub`, in hexadecimal digits."""
    row = owner.execute("SELECT cognito_user_id FROM users WHERE uuid = %s", [user.uuid]).fetchone()
    assert row is not None
    return sha256(row[0].encode()).hexdigest()


def leave(owner: Connection, user: User, outcome: str | None = "deleted") -> str:
    """Delete a user as the service does. Without an outcome the deletion is not confirmed. Returns the hash."""
    sha = sub_hash(owner, user)
    statement = "SELECT request_deletion(cognito_user_id, %s, gen_random_uuid()) FROM users WHERE uuid = %s"
    owner.execute(statement, [RETENTION, user.uuid])
    if outcome:
        owner.execute("SELECT confirm_deletion(decode(%s, 'hex'), %s)", [sha, outcome])
    return sha


def texts(url: str) -> list[str]:
    """Return all rows of all tables as texts."""
    with psycopg.connect(url) as connection:
        tables = [name for (name,) in connection.execute(TABLES).fetchall()]
        statements = [SQL("SELECT {0}::text FROM {0}").format(Identifier(name)) for name in tables]
        return [text for statement in statements for (text,) in connection.execute(statement)]


def planted(url: str) -> list[str]:
    """Return the rows with a marker."""
    return [text for text in texts(url) if MARKER in text]


class Case(NamedTuple):
    """A backup with both users, and what the restored database must still have."""

    file: Path
    owner: Connection
    leavers: list[User]
    bystander: User
    kept: list[tuple[str, str]]


@pytest.fixture
def case(file: Path, owner: Connection, leaver: User, bystander: User) -> Case:
    """Return a backup, in which the user and the other one have not left."""
    (uuid,) = owner.execute("SELECT uuid FROM users WHERE handle = %s", [f"{MARKER}_other"]).fetchone() or (None,)
    leavers = [leaver, replace(leaver, uuid=uuid, handle=f"{MARKER}_other")]
    return Case(file, owner, leavers, bystander, belongings(owner, bystander))


@pytest.mark.parametrize(
    ("command", "name"), [("db-backup", ""), ("db-purge", "elsewhere"), ("db-backup", "elsewhere")]
)
def test_restored_database_forgets_users_who_left_after_the_backup(
    case: Case, owner_url: str, new_url: str, command: str, name: str
) -> None:
    path = case.file.with_name(name) if name else beside(case.file)
    settings = {"CONNECTION_URL": owner_url, "DELETION_LEDGER": str(path) if name else ""}
    assert len(planted(owner_url)) >= 4
    hashes = {leave(case.owner, user) for user in case.leavers}
    # The ledger outlives the database: from here on only the backup and the ledger are read.
    succeeds(command, *([str(case.file.with_name("later.dump"))] if command == "db-backup" else []), **settings)

    lines = succeeds("db-restore", str(case.file), NEW, **settings).splitlines()

    assert planted(new_url) == []
    uuids = [str(user.uuid) for user in case.leavers]
    assert not [text for text in texts(new_url) if any(uuid in text for uuid in uuids)]
    with psycopg.connect(new_url) as restored:
        assert belongings(restored, case.bystander) == case.kept
        found = restored.execute(
            "SELECT encode(sub_hash, 'hex') FROM deletions WHERE finished_at IS NOT NULL AND cognito_user_id IS NULL"
        )
        assert {sha for (sha,) in found} == hashes
        # A token may be valid for longer than the user exists.
        with pytest.raises(psycopg.Error, match="was deleted"):
            restored.execute("SELECT admit(%s)", [f"{MARKER}-sub"])
    assert f"{path}: 2 deletions" in lines
    assert "Since the backup: 2 users, 2 activities, 0 messages and 0 idempotency keys deleted" in lines


def test_expired_rows_are_not_restored(file: Path, owner: Connection, owner_url: str, new_url: str, make: Make) -> None:
    author, receiver = make.user("author"), make.user("receiver")
    make.activity(author, "it ends", age="59 minutes 59 seconds", ttl="1 hour")
    group = make.conversation(author, receiver, "it stays")
    make.message(group, author, "it ends too", age="59 minutes 59 seconds", ttl="1 hour")
    make.activity(author, "it lives", ttl="1 hour")
    live = "SELECT message FROM activities UNION SELECT message FROM messages"
    before = set(rows(owner_url, live))
    newer = file.with_name("newer.dump")
    succeeds("db-backup", str(newer), CONNECTION_URL=owner_url)
    owner.execute("SELECT pg_sleep(1)")

    output = succeeds("db-restore", str(newer), NEW, CONNECTION_URL=owner_url)

    assert set(rows(new_url, live)) == before - {("it ends",), ("it ends too",)}
    assert "0 users, 1 activities, 1 messages and 0 idempotency keys deleted" in output


def test_missing_ledger_is_told(file: Path, owner_url: str, new_url: str) -> None:
    beside(file).unlink()

    output = succeeds("db-restore", str(file), NEW, CONNECTION_URL=owner_url)

    assert f"no ledger at {beside(file)}: users who were deleted after the backup are here again" in output
    assert sorted(planted(new_url)) == sorted(planted(owner_url)) != []


def test_missing_ledger_of_the_setting_restores_nothing(file: Path, owner_url: str, server_url: str) -> None:
    path = file.with_name("elsewhere")
    assert beside(file).exists()

    line = fails("db-restore", str(file), NEW, CONNECTION_URL=owner_url, DELETION_LEDGER=str(path))

    assert line.startswith(f"cruddur: DELETION_LEDGER: {path} does not exist; ")
    assert "unset DELETION_LEDGER" in line
    assert rows(server_url, f"SELECT FROM pg_database WHERE datname = '{NEW}'") == []


@pytest.mark.parametrize("content", ["a folder", "another file"])
def test_unreadable_ledger_restores_nothing(file: Path, owner_url: str, server_url: str, content: str) -> None:
    beside(file).unlink()
    if content == "a folder":
        beside(file).mkdir()
    else:
        beside(file).write_text("PGDMP\n")

    line = fails("db-restore", str(file), NEW, CONNECTION_URL=owner_url)

    assert line.startswith(f"cruddur: {beside(file)} can't be read (")
    assert rows(server_url, f"SELECT FROM pg_database WHERE datname = '{NEW}'") == []


def test_half_a_line_is_told_and_loses_no_other(
    file: Path, owner: Connection, owner_url: str, new_url: str, leaver: User
) -> None:
    now = datetime.now(UTC)
    line = Deletion(sub_hash(owner, leaver), now, now + RETENTION).line()
    beside(file).write_bytes(line + line[:70])

    output = succeeds("db-restore", str(file), NEW, CONNECTION_URL=owner_url)

    assert f"{beside(file)}: 1 lines are malformed, and were skipped" in output
    assert not [text for text in texts(new_url) if f"{MARKER} name" in text]


def test_failure_while_forgetting_drops_the_database(
    file: Path, owner_url: str, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The restored database cannot finish a deletion then.
    monkeypatch.setattr("ops.apply_ledger.CONFIRM", "SELECT 1 / 0 WHERE %s::text[] IS NOT NULL")

    fails("db-restore", str(file), NEW, CONNECTION_URL=owner_url)

    assert rows(server_url, f"SELECT FROM pg_database WHERE datname = '{NEW}'") == []


def test_deletion_inside_the_backup_is_finished(
    file: Path, owner: Connection, owner_url: str, new_url: str, leaver: User
) -> None:
    sha = leave(owner, leaver, "unknown")
    later_file = file.with_name("later.dump")
    succeeds("db-backup", str(later_file), CONNECTION_URL=owner_url)
    beside(file).unlink()

    succeeds("db-restore", str(later_file), NEW, CONNECTION_URL=owner_url)

    found = rows(new_url, "SELECT encode(sub_hash, 'hex'), outcome, finished_at IS NOT NULL FROM deletions")
    assert found == [(sha, "unknown", True)]
    assert not rows(new_url, f"SELECT FROM activities WHERE user_uuid = '{leaver.uuid}'")


def test_unconfirmed_deletion_that_no_ledger_has_is_taken_back(case: Case, owner_url: str, new_url: str) -> None:
    leaver = case.leavers[0]
    leave(case.owner, leaver, None)
    # The purge takes an unconfirmed deletion for an interrupted one after a minute.
    case.owner.execute("UPDATE deletions SET requested_at = requested_at - interval '1 day'")
    later_file = case.file.with_name("later.dump")
    succeeds("db-backup", str(later_file), CONNECTION_URL=owner_url)

    output = succeeds("db-restore", str(later_file), NEW, CONNECTION_URL=owner_url)

    assert "1 unconfirmed deletions, which no ledger has, were taken back" in output.splitlines()
    assert rows(new_url, "SELECT FROM deletions") == []
    assert rows(new_url, f"SELECT handle FROM users WHERE uuid = '{leaver.uuid}'") == [(leaver.handle,)]
    with psycopg.connect(new_url) as restored:
        assert belongings(restored, case.bystander) == case.kept


def test_unconfirmed_deletion_that_a_ledger_has_is_finished(
    file: Path, owner: Connection, owner_url: str, new_url: str, leaver: User
) -> None:
    sha = leave(owner, leaver, None)
    later_file = file.with_name("later.dump")
    succeeds("db-backup", str(later_file), CONNECTION_URL=owner_url)
    now = datetime.now(UTC)
    ledger.append(beside(file), [Deletion(sha, now, now + RETENTION)])

    output = succeeds("db-restore", str(later_file), NEW, CONNECTION_URL=owner_url)

    assert "taken back" not in output
    assert rows(new_url, f"SELECT FROM users WHERE handle = '{leaver.handle}'") == []


def test_unknown_outcome_survives_a_restore(
    file: Path, owner: Connection, owner_url: str, new_url: str, leaver: User
) -> None:
    sha = leave(owner, leaver, "unknown")
    succeeds("db-backup", str(file.with_name("later.dump")), CONNECTION_URL=owner_url)
    assert json.loads(beside(file).read_text())["outcome"] == "unknown"

    succeeds("db-restore", str(file), NEW, CONNECTION_URL=owner_url)

    assert rows(new_url, "SELECT outcome, cognito_user_id FROM deletions") == [("unknown", f"{MARKER}-sub")]
    assert f"--username {MARKER}-sub" in script("db-deletions", CONNECTION_URL=new_url).stdout
    # Each closed deletion replaces the line.
    succeeds("db-deletions", "close", sha, CONNECTION_URL=owner_url)
    succeeds("db-backup", str(file.with_name("closed.dump")), CONNECTION_URL=owner_url)
    assert "outcome" not in json.loads(beside(file).read_text())


def test_unconfirmed_deletion_is_not_in_the_ledger(file: Path, owner: Connection, owner_url: str, leaver: User) -> None:
    leave(owner, leaver, None)

    succeeds("db-backup", str(file.with_name("later.dump")), CONNECTION_URL=owner_url)

    assert beside(file).read_text() == ""


@pytest.fixture
def old_file(tmp_path: Path, empty_url: str) -> Path:
    """Back up a database of the schema before deletions, with two users."""
    database = Database("CONNECTION_URL", empty_url)
    create(database)
    migrate(database, "0016")
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO users (handle, display_name, cognito_user_id)"
            " VALUES ('leaver', 'L', 'leaver-sub'), ('b', 'B', 'b')"
        )
    file = tmp_path / "old.dump"
    succeeds("db-backup", str(file), CONNECTION_URL=empty_url)
    return file


def test_backup_of_an_older_schema_is_migrated(old_file: Path, empty_url: str, new_url: str) -> None:
    now = datetime.now(UTC)
    ledger.append(beside(old_file), [Deletion(sha256(b"leaver-sub").hexdigest(), now, now + RETENTION)])

    output = succeeds("db-restore", str(old_file), NEW, CONNECTION_URL=empty_url)

    assert rows(new_url, "SELECT handle FROM users") == [("b",)]
    assert rows(new_url, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert f"{NEW} was migrated, because its schema had no deletions: applied 0017, 0018" in output


def recorded(owner: Connection) -> list[bool]:
    """Return whether the ledger has each deletion, by the table."""
    return [value for (value,) in owner.execute("SELECT in_ledger FROM deletions ORDER BY requested_at")]


def test_service_records_confirmed_deletions_once(
    tmp_path: Path, owner: Connection, service_url: str, make: Make, bystander: User
) -> None:
    path = tmp_path / "deletions.ledger"
    one, unconfirmed = make.user(), make.user()
    sha = leave(owner, one)
    leave(owner, unconfirmed, None)
    with psycopg.connect(service_url, autocommit=True) as service:
        purge = Purge(path)
        for _ in range(3):
            purge.run(service)

    (line,) = path.read_text().splitlines()
    document = json.loads(line)
    assert document["sub_sha256"] == sha
    row = owner.execute("SELECT requested_at, expires_at FROM deletions WHERE in_ledger").fetchone()
    assert row == (datetime.fromisoformat(document["requested_at"]), datetime.fromisoformat(document["expires_at"]))
    assert recorded(owner) == [True, False]
    assert bystander


@pytest.mark.parametrize(
    ("error", "marks"),
    [
        (psycopg.errors.QueryCanceled, [True]),
        (psycopg.errors.ForeignKeyViolation, [True]),
        (psycopg.errors.ReadOnlySqlTransaction, [False]),
    ],
)
def test_failing_batch_keeps_no_deletion_from_the_ledger(
    case: Case, service_url: str, monkeypatch: pytest.MonkeyPatch, error: type[psycopg.Error], marks: list[bool]
) -> None:
    def refuse(*_: object) -> None:
        raise error

    leave(case.owner, case.leavers[0])
    monkeypatch.setattr("lib.purge.purge_batch", refuse)
    with psycopg.connect(service_url, autocommit=True) as service, suppress(psycopg.Error):
        Purge(case.file.with_name("elsewhere")).run(service)

    assert recorded(case.owner) == marks


def test_crash_between_ledger_and_mark_repeats_the_line(
    tmp_path: Path, owner: Connection, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deletions.ledger"
    sha = leave(owner, make.user())
    with monkeypatch.context() as patch:
        patch.setattr("lib.purge.ledger.append", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
        with pytest.raises(OSError, match="No space"):
            record_deletions(owner, path)
    assert recorded(owner) == [False]

    with owner.transaction(force_rollback=True):
        assert record_deletions(owner, path) == 1
    assert recorded(owner) == [False]
    assert record_deletions(owner, path) == 1

    assert recorded(owner) == [True]
    assert record_deletions(owner, path) == 0
    assert path.read_text().count(sha) == 2


def test_unwritable_ledger_warns_once_and_delays_no_deletion(
    tmp_path: Path, owner: Connection, service_url: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "missing" / "deletions.ledger"
    caplog.set_level(logging.WARNING)
    leave(owner, make.user())
    owner.execute("UPDATE deletions SET confirmed_at = now() - interval '2 minutes'")
    purge = Purge(path)
    with psycopg.connect(service_url, autocommit=True) as service:
        for _ in range(4):
            purge.run(service)
        assert owner.execute("SELECT finished_at IS NOT NULL, in_ledger FROM deletions").fetchall() == [(True, False)]
        path.parent.mkdir()
        purge.run(service)
        assert recorded(owner) == [True]
        path.unlink()
        path.parent.rmdir()
        leave(owner, make.user())
        purge.run(service)

    messages = [record.getMessage() for record in caplog.records if "DELETION_LEDGER" in record.getMessage()]
    assert len(messages) == 2
    assert messages[0].startswith("DELETION_LEDGER: deletions can't be written (No such file or directory)")
    assert str(path) not in messages[0]


def test_purge_by_hand_writes_the_ledger_or_fails(
    tmp_path: Path, owner: Connection, owner_url: str, make: Make
) -> None:
    sha = leave(owner, make.user())
    missing = tmp_path / "missing" / "deletions.ledger"

    line = fails("db-purge", CONNECTION_URL=owner_url, DELETION_LEDGER=str(missing))
    assert f"{missing} can't be written (No such file or directory)" in line
    assert recorded(owner) == [False]
    missing.parent.mkdir()
    succeeds("db-purge", CONNECTION_URL=owner_url, DELETION_LEDGER=str(missing))

    found = ledger.read(missing)
    assert found is not None
    assert set(found.deletions) == {sha}


def test_ledger_is_applied_to_a_database_that_was_restored_by_other_means(
    tmp_path: Path, owner: Connection, owner_url: str, leaver: User, bystander: User
) -> None:
    now, expected = datetime.now(UTC), belongings(owner, bystander)
    path = tmp_path / "deletions.ledger"
    assert fails("db-apply-ledger", str(path), CONNECTION_URL=owner_url) == f"cruddur: {path} does not exist"
    ledger.append(path, [Deletion(sub_hash(owner, leaver), now, now + RETENTION)])
    for users in (1, 0):
        output = succeeds("db-apply-ledger", str(path), CONNECTION_URL=owner_url)

        assert f"1 deletions; {users} users, " in output
        assert rows(owner_url, f"SELECT FROM activities WHERE user_uuid = '{leaver.uuid}'") == []
    assert not [text for text in texts(owner_url) if f"{MARKER} name" in text]
    assert belongings(owner, bystander) == expected


@pytest.mark.parametrize("value", ["deletions.ledger", "/backups/"])
def test_malformed_setting_is_one_line(owner_url: str, value: str) -> None:
    line = fails("db-purge", CONNECTION_URL=owner_url, DELETION_LEDGER=value)

    assert line.startswith("cruddur: DELETION_LEDGER is malformed: ")
    assert line.endswith("is the absolute path of a file, such as DELETION_LEDGER=/backups/deletions.ledger")
