"""bin/db-restore: a new database that is what was backed up, or a line and no database."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from lib.checks import SCHEMA
from ops.manifest import manifest_path
from ops.roles import ROLE_LOCK_ID
from tests.conftest import NEW, SERVICE_PASSWORD
from tests.make import User
from tests.running import SECONDS, eventually, fails, rows, running, script, succeeds, waits

EVERYTHING = """
    SELECT users.*, activities.*, messages.*, message_groups.*, idempotency_keys.key
    FROM users
    LEFT JOIN activities ON activities.user_uuid = users.uuid
    LEFT JOIN messages ON messages.user_uuid = users.uuid
    LEFT JOIN message_groups ON message_groups.uuid = messages.message_group_uuid
    LEFT JOIN idempotency_keys ON idempotency_keys.user_uuid = users.uuid
    ORDER BY users.uuid, activities.uuid, messages.uuid
"""


@pytest.fixture
def taken(tmp_path: Path, owner_url: str, bystander: User, new_url: str) -> Iterator[Path]:
    """A backup of a database in which the bystander has one of everything, and no database to restore into yet."""
    file = tmp_path / "a backup"
    succeeds("db-backup", str(file), CONNECTION_URL=owner_url)
    yield file
    assert bystander
    assert new_url


def is_there(server_url: str) -> bool:
    """Whether there is a database of the name `NEW`."""
    return rows(server_url, f"SELECT FROM pg_database WHERE datname = '{NEW}'") != []


def test_what_is_restored_is_what_there_was(taken: Path, owner_url: str, new_url: str) -> None:
    said = succeeds("db-restore", str(taken), NEW, CONNECTION_URL=owner_url)

    assert rows(new_url, EVERYTHING) == rows(owner_url, EVERYTHING) != []
    lines = said.splitlines()
    assert lines[0] == f"{NEW}: every row as it was backed up, schema {SCHEMA}"
    assert ["public.activities", "4"] in [line.split() for line in lines]
    assert lines[-1].startswith("To switch to it, name it in CONNECTION_URL, and in SERVICE_CONNECTION_URL")


def test_a_restored_database_serves(taken: Path, owner_url: str, new_url: str) -> None:
    succeeds("db-restore", str(taken), NEW, CONNECTION_URL=owner_url)

    service = make_conninfo(new_url, user="cruddur_service", password=SERVICE_PASSWORD)
    assert rows(service, "SHOW timezone") == [("UTC",)]
    assert rows(service, "SELECT count(*) FROM live_activities") == [(4,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(service, "CREATE TEMPORARY TABLE mine ()")
    assert rows(new_url, "SELECT reltuples FROM pg_class WHERE relname = 'activities'") == [(4.0,)]
    assert succeeds("db-migrate", CONNECTION_URL=new_url).endswith(" is the newest\n")


def test_a_database_that_is_there_is_left_as_it_is(taken: Path, owner: psycopg.Connection, owner_url: str) -> None:
    in_use = owner.info.dbname

    line = fails("db-restore", str(taken), in_use, CONNECTION_URL=owner_url)

    assert f"there is a database {in_use} already" in line


@pytest.mark.parametrize("kept", [0, 3000, -1], ids=["nothing", "the beginning", "all but the last byte"])
def test_a_broken_file_leaves_no_database(taken: Path, owner_url: str, server_url: str, kept: int) -> None:
    taken.write_bytes(taken.read_bytes()[:kept])

    line = fails("db-restore", str(taken), NEW, CONNECTION_URL=owner_url)

    assert f"{taken} can't be restored: pg_restore: error: " in line
    assert not is_there(server_url)


def test_a_row_that_is_not_as_it_was_is_found(taken: Path, owner_url: str, server_url: str) -> None:
    written = json.loads(manifest_path(taken).read_text())
    checksum = written["tables"]["public.messages"]["checksum"]
    written["tables"]["public.messages"]["checksum"] = str(int(checksum) + 1)
    manifest_path(taken).write_text(json.dumps(written))

    done = script("db-restore", str(taken), NEW, CONNECTION_URL=owner_url)

    backed_up, written_down = (f"2 rows of checksum {number}" for number in (checksum, int(checksum) + 1))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "cruddur: the restored database differed from its manifest, and was dropped:",
        f"cruddur: public.messages has {backed_up}, and the manifest says {written_down}",
    ]
    assert not is_there(server_url)


def test_a_table_and_a_revision_that_are_not_as_they_were_are_found(taken: Path, owner_url: str) -> None:
    written = json.loads(manifest_path(taken).read_text())
    del written["tables"]["public.users"]
    manifest_path(taken).write_text(json.dumps(written | {"revision": "9999"}))

    done = script("db-restore", str(taken), NEW, CONNECTION_URL=owner_url)

    assert f"the schema has revision {SCHEMA}, and the manifest says 9999" in done.stderr
    assert "public.users has 2 rows of checksum " in done.stderr
    assert "and the manifest says no table" in done.stderr


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"revision": "1", "tables": {"a": {}}}'])
def test_without_its_manifest_nothing_is_restored(
    taken: Path, owner_url: str, server_url: str, content: str | None
) -> None:
    manifest_path(taken).unlink()
    if content is not None:
        manifest_path(taken).write_text(content)

    line = fails("db-restore", str(taken), NEW, CONNECTION_URL=owner_url)

    assert f"{manifest_path(taken)} " in line
    assert "bin/db-backup" in line
    assert not is_there(server_url)


def test_a_manifest_without_its_backup_is_one_line(taken: Path, owner_url: str) -> None:
    taken.unlink()

    assert fails("db-restore", str(taken), NEW, CONNECTION_URL=owner_url) == f"cruddur: {taken} does not exist"


def test_a_restore_that_is_stopped_leaves_no_database(taken: Path, owner_url: str, server_url: str) -> None:
    with psycopg.connect(make_conninfo(server_url, dbname="postgres"), autocommit=True) as somebody:
        somebody.execute("SELECT pg_advisory_lock(%s)", [ROLE_LOCK_ID])
        with running("db-restore", str(taken), NEW, CONNECTION_URL=owner_url) as restore:
            eventually(lambda: is_there(server_url) and waits(server_url))
            restore.send_signal(signal.SIGTERM)
            assert restore.wait(SECONDS) == 130
    assert not is_there(server_url)
