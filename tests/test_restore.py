"""bin/db-restore: a new database equal to the backed up one, or one error line and no database."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.postgres import rows
from harness.waiting import SECONDS, wait_until
from lib.checks import SCHEMA
from ops.manifest import manifest_path
from ops.roles import ROLE_LOCK_ID
from tests.conftest import NEW, SERVICE_PASSWORD
from tests.factories import User
from tests.in_process import fails, script, succeeds
from tests.processes import running, waits

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
def backup_file(tmp_path: Path, owner_url: str, bystander: User, new_url: str) -> Iterator[Path]:
    """Back up a database in which the bystander has a row in every table. The database to restore to is missing."""
    file = tmp_path / "a backup"
    succeeds("db-backup", str(file), CONNECTION_URL=owner_url)
    yield file
    assert bystander
    assert new_url


def exists(server_url: str) -> bool:
    """Return whether the database `NEW` exists."""
    return rows(server_url, f"SELECT FROM pg_database WHERE datname = '{NEW}'") != []


def test_restored_rows_equal_the_backed_up_rows(backup_file: Path, owner_url: str, new_url: str) -> None:
    output = succeeds("db-restore", str(backup_file), NEW, CONNECTION_URL=owner_url)

    assert rows(new_url, EVERYTHING) == rows(owner_url, EVERYTHING) != []
    lines = output.splitlines()
    assert lines[0] == f"{NEW}: every row as it was backed up, schema {SCHEMA}"
    counts = [line.split() for line in lines]
    assert ["public.activities", "5"] in counts
    assert ["public.reports", "1"] in counts
    assert lines[-1].startswith("To switch to it, name it in CONNECTION_URL, and in SERVICE_CONNECTION_URL")


def test_restored_database_is_ready_for_the_service(backup_file: Path, owner_url: str, new_url: str) -> None:
    succeeds("db-restore", str(backup_file), NEW, CONNECTION_URL=owner_url)

    service = make_conninfo(new_url, user="cruddur_service", password=SERVICE_PASSWORD)
    assert rows(service, "SHOW timezone") == [("UTC",)]
    assert rows(service, "SELECT count(*) FROM live_activities") == [(5,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(service, "CREATE TEMPORARY TABLE mine ()")
    assert rows(new_url, "SELECT reltuples FROM pg_class WHERE relname = 'activities'") == [(5.0,)]
    assert succeeds("db-migrate", CONNECTION_URL=new_url).endswith(" is the newest\n")


def test_existing_database_is_left_alone(backup_file: Path, owner: psycopg.Connection, owner_url: str) -> None:
    in_use = owner.info.dbname

    line = fails("db-restore", str(backup_file), in_use, CONNECTION_URL=owner_url)

    assert f"database {in_use} exists already" in line


@pytest.mark.parametrize("kept", [0, 3000, -1], ids=["nothing", "the beginning", "all but the last byte"])
def test_broken_backup_leaves_no_database(backup_file: Path, owner_url: str, server_url: str, kept: int) -> None:
    backup_file.write_bytes(backup_file.read_bytes()[:kept])

    line = fails("db-restore", str(backup_file), NEW, CONNECTION_URL=owner_url)

    assert f"{backup_file} can't be restored: pg_restore: error: " in line
    assert not exists(server_url)


def test_changed_row_is_detected_by_its_checksum(backup_file: Path, owner_url: str, server_url: str) -> None:
    manifest = json.loads(manifest_path(backup_file).read_text())
    checksum = manifest["tables"]["public.messages"]["checksum"]
    manifest["tables"]["public.messages"]["checksum"] = str(int(checksum) + 1)
    manifest_path(backup_file).write_text(json.dumps(manifest))

    result = script("db-restore", str(backup_file), NEW, CONNECTION_URL=owner_url)

    backed_up, in_manifest = (f"3 rows of checksum {number}" for number in (checksum, int(checksum) + 1))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "cruddur: the restored database differed from its manifest, and was dropped:",
        f"cruddur: public.messages has {backed_up}, and the manifest says {in_manifest}",
    ]
    assert not exists(server_url)


def test_missing_table_and_wrong_revision_are_detected(backup_file: Path, owner_url: str) -> None:
    manifest = json.loads(manifest_path(backup_file).read_text())
    del manifest["tables"]["public.users"]
    manifest_path(backup_file).write_text(json.dumps(manifest | {"revision": "9999"}))

    result = script("db-restore", str(backup_file), NEW, CONNECTION_URL=owner_url)

    assert f"the schema has revision {SCHEMA}, and the manifest says 9999" in result.stderr
    assert "public.users has 2 rows of checksum " in result.stderr
    assert "and the manifest says no table" in result.stderr


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"revision": "1", "tables": {"a": {}}}'])
def test_missing_or_malformed_manifest_restores_nothing(
    backup_file: Path, owner_url: str, server_url: str, content: str | None
) -> None:
    manifest_path(backup_file).unlink()
    if content is not None:
        manifest_path(backup_file).write_text(content)

    line = fails("db-restore", str(backup_file), NEW, CONNECTION_URL=owner_url)

    assert f"{manifest_path(backup_file)} " in line
    assert "bin/db-backup" in line
    assert not exists(server_url)


def test_manifest_without_its_backup_is_one_error_line(backup_file: Path, owner_url: str) -> None:
    backup_file.unlink()

    assert (
        fails("db-restore", str(backup_file), NEW, CONNECTION_URL=owner_url) == f"cruddur: {backup_file} does not exist"
    )


@pytest.mark.slow
def test_interrupted_restore_leaves_no_database(backup_file: Path, owner_url: str, server_url: str) -> None:
    with psycopg.connect(make_conninfo(server_url, dbname="postgres"), autocommit=True) as blocker:
        blocker.execute("SELECT pg_advisory_lock(%s)", [ROLE_LOCK_ID])
        with running("db-restore", str(backup_file), NEW, CONNECTION_URL=owner_url) as restore:
            wait_until(lambda: exists(server_url) and waits(server_url))
            restore.send_signal(signal.SIGTERM)
            assert restore.wait(SECONDS) == 130
    assert not exists(server_url)
