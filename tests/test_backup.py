"""bin/db-backup: one consistent snapshot in a file, or one error line and no file."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.postgres import rows
from harness.waiting import SECONDS, wait_until
from lib.checks import SCHEMA
from lib.command_errors import CommandError
from ops import pg_tools
from ops.command import Database
from ops.create_database import create
from ops.deletion_ledger import beside
from ops.manifest import manifest_path
from tests.conftest import NEW
from tests.factories import Make
from tests.in_process import fails, succeeds
from tests.processes import running, waits


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of the backup to write, in a folder with a space in its name."""
    (tmp_path / "a folder").mkdir()
    return tmp_path / "a folder" / "a backup"


def test_backup_is_one_consistent_snapshot(file: Path, owner_url: str, new_url: str) -> None:
    enough = Event()

    def write() -> None:
        with psycopg.connect(owner_url, autocommit=True) as connection:
            while not enough.is_set():
                Make(connection).user(f"h{uuid4().hex[:20]}")
                connection.execute("UPDATE users SET cognito_user_id = uuid")

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write)
        succeeds("db-backup", str(file), CONNECTION_URL=owner_url)
        enough.set()
        writing.result()
    succeeds("db-restore", str(file), NEW, CONNECTION_URL=owner_url)

    assert len(rows(new_url, "SELECT FROM users")) > 1


def test_backup_is_readable_by_its_owner_only_and_lists_its_tables(file: Path, owner_url: str, make: Make) -> None:
    make.user()

    output = succeeds("db-backup", str(file), CONNECTION_URL=owner_url)

    name = make.owner.info.dbname
    assert output.startswith(f"{file}: database {name}, {file.stat().st_size:,} bytes, schema {SCHEMA}\n")
    assert ["public.users", "1"] in [line.split() for line in output.splitlines()]
    assert sorted(file.parent.iterdir()) == [file, manifest_path(file), beside(file)]
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}


def test_default_file_name_is_the_time(file: Path, owner_url: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make.user()
    monkeypatch.chdir(file.parent)

    output = succeeds("db-backup", "prod", PROD_CONNECTION_URL=owner_url)

    (name,) = [path.name for path in file.parent.iterdir() if path.suffix == ".dump"]
    assert output.startswith(f"{name}: ")


def test_existing_file_is_not_overwritten(file: Path, owner_url: str, make: Make) -> None:
    make.user()
    for existing in (file, manifest_path(file)):
        existing.write_text("somebody's")

        line = fails("db-backup", str(file), CONNECTION_URL=owner_url)

        assert f"{existing} exists already, and was not changed" in line
        assert [path.read_text() for path in file.parent.iterdir()] == ["somebody's"]
        existing.unlink()


def test_unwritable_file_is_one_error_line(file: Path, owner_url: str) -> None:
    line = fails("db-backup", str(file / "inside"), CONNECTION_URL=owner_url)

    assert line.endswith("inside can't be written: No such file or directory")


def test_failed_backup_leaves_no_file(file: Path, owner: psycopg.Connection, service_url: str) -> None:
    owner.execute("REVOKE SELECT ON messages FROM cruddur_service")

    line = fails("db-backup", str(file), CONNECTION_URL=service_url)

    assert line == "cruddur: the database refused: permission denied for table deletions"
    assert list(file.parent.iterdir()) == []


def test_interrupted_backup_leaves_no_file(file: Path, owner: psycopg.Connection, owner_url: str) -> None:
    with owner.transaction():
        owner.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with running("db-backup", str(file), CONNECTION_URL=owner_url) as backup:
            wait_until(lambda: list(file.parent.iterdir()) != [] and waits(owner_url))
            backup.send_signal(signal.SIGTERM)
            assert backup.wait(SECONDS) == 130
    assert list(file.parent.iterdir()) == []


def test_database_without_schema_is_not_backed_up(file: Path, owner_url: str, new_url: str) -> None:
    create(Database("CONNECTION_URL", new_url))

    line = fails("db-backup", str(file), CONNECTION_URL=new_url)

    assert line == "cruddur: the database has no schema: run bin/db-schema-load"
    assert owner_url
    assert list(file.parent.iterdir()) == []


def test_pg_dump_older_than_the_server_is_refused_with_a_remedy() -> None:
    with pytest.raises(CommandError, match=r"the server is Postgres 99, and pg_dump refuses .* version 99 or newer"):
        pg_tools.find_program("pg_dump", 99)


def test_password_is_passed_by_the_environment() -> None:
    told, environ = pg_tools.connection_args({"host": "h", "dbname": "d", "password": "p/w ?#@%'"})

    assert (told, environ["PGPASSWORD"]) == ("host=h dbname=d", "p/w ?#@%'")


def test_backup_connects_to_the_host_that_was_reached(owner: psycopg.Connection, owner_url: str) -> None:
    several = make_conninfo(owner_url, host=f"127.0.0.1,{owner.info.host}", port=f"1,{owner.info.port}")

    parts = pg_tools.reached_server_params(make_conninfo(several, target_session_attrs="read-write"), owner)

    assert (parts["host"], parts["port"]) == (owner.info.host, owner.info.port)
    assert "target_session_attrs" not in parts
