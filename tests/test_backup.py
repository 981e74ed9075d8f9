"""bin/db-backup: a file that holds the database of one instant, or a line and no file."""

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
from ops.manifest import manifest_path
from tests.conftest import NEW
from tests.factories import Make
from tests.in_process import fails, succeeds
from tests.processes import running, waits


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a backup is to be, in a path with a space in it."""
    (tmp_path / "a folder").mkdir()
    return tmp_path / "a folder" / "a backup"


def test_a_backup_is_of_one_instant(file: Path, owner_url: str, new_url: str) -> None:
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


def test_a_backup_is_its_owners_alone_and_says_what_is_in_it(file: Path, owner_url: str, make: Make) -> None:
    make.user()

    said = succeeds("db-backup", str(file), CONNECTION_URL=owner_url)

    name = make.owner.info.dbname
    assert said.startswith(f"{file}: database {name}, {file.stat().st_size:,} bytes, schema {SCHEMA}\n")
    assert ["public.users", "1"] in [line.split() for line in said.splitlines()]
    assert sorted(file.parent.iterdir()) == [file, manifest_path(file)]
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}


def test_without_a_name_it_is_named_by_the_time(
    file: Path, owner_url: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.user()
    monkeypatch.chdir(file.parent)

    said = succeeds("db-backup", "prod", PROD_CONNECTION_URL=owner_url)

    (name,) = [path.name for path in file.parent.iterdir() if path.suffix == ".dump"]
    assert said.startswith(f"{name}: ")


def test_a_file_that_is_there_is_left_as_it_is(file: Path, owner_url: str, make: Make) -> None:
    make.user()
    for there in (file, manifest_path(file)):
        there.write_text("somebody's")

        line = fails("db-backup", str(file), CONNECTION_URL=owner_url)

        assert f"{there} exists already, and was not changed" in line
        assert [path.read_text() for path in file.parent.iterdir()] == ["somebody's"]
        there.unlink()


def test_a_file_that_can_not_be_written_is_one_line(file: Path, owner_url: str) -> None:
    line = fails("db-backup", str(file / "inside"), CONNECTION_URL=owner_url)

    assert line.endswith("inside can't be written: No such file or directory")


def test_a_backup_that_fails_leaves_nothing(file: Path, owner: psycopg.Connection, service_url: str) -> None:
    owner.execute("REVOKE SELECT ON messages FROM cruddur_service")

    line = fails("db-backup", str(file), CONNECTION_URL=service_url)

    assert line == "cruddur: the database refused: permission denied for table messages"
    assert list(file.parent.iterdir()) == []


def test_a_backup_that_is_stopped_leaves_nothing(file: Path, owner: psycopg.Connection, owner_url: str) -> None:
    with owner.transaction():
        owner.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with running("db-backup", str(file), CONNECTION_URL=owner_url) as backup:
            wait_until(lambda: list(file.parent.iterdir()) != [] and waits(owner_url))
            backup.send_signal(signal.SIGTERM)
            assert backup.wait(SECONDS) == 130
    assert list(file.parent.iterdir()) == []


def test_a_database_without_the_schema_is_not_backed_up(file: Path, owner_url: str, new_url: str) -> None:
    create(Database("CONNECTION_URL", new_url))

    line = fails("db-backup", str(file), CONNECTION_URL=new_url)

    assert line == "cruddur: the database has no schema: run bin/db-schema-load"
    assert owner_url
    assert list(file.parent.iterdir()) == []


def test_a_program_older_than_the_server_is_told_with_the_remedy() -> None:
    with pytest.raises(CommandError, match=r"the server is Postgres 99, and pg_dump refuses .* version 99 or newer"):
        pg_tools.find_program("pg_dump", 99)


def test_the_password_is_told_by_the_environment() -> None:
    told, environ = pg_tools.connection_args({"host": "h", "dbname": "d", "password": "p/w ?#@%'"})

    assert (told, environ["PGPASSWORD"]) == ("host=h dbname=d", "p/w ?#@%'")


def test_of_several_servers_the_one_reached_is_told(owner: psycopg.Connection, owner_url: str) -> None:
    several = make_conninfo(owner_url, host=f"127.0.0.1,{owner.info.host}", port=f"1,{owner.info.port}")

    parts = pg_tools.reached_server_params(make_conninfo(several, target_session_attrs="read-write"), owner)

    assert (parts["host"], parts["port"]) == (owner.info.host, owner.info.port)
    assert "target_session_attrs" not in parts
