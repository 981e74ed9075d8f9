"""The embedded Postgres: its lifetime, its lock files, and its protection from other users and servers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from harness.processes import CLEAN, launch
from harness.waiting import wait_until
from lib.command_errors import CommandError
from ops import embedded
from ops.command import ROOT
from tests.processes import runs, script

pytestmark = pytest.mark.slow

# A user that every Unix has.
DAEMON = 1


def test_server_stays_up_until_its_last_holder_leaves(home: Path) -> None:
    with embedded.running_server(home) as url:
        with embedded.running_server(home) as same:
            assert url == same
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not runs(home)


def test_long_folder_name_moves_the_socket_elsewhere(tmp_path: Path) -> None:
    with embedded.running_server(tmp_path / ("long" * 30)) as url, psycopg.connect(url) as connection:
        socket_folder = Path(connection.info.host)
        assert len(str(socket_folder)) < 100
    assert not socket_folder.exists()


def test_stale_lock_file_is_ignored(home: Path) -> None:
    with embedded.running_server(home) as url, psycopg.connect(url) as connection:
        lock_file = home / "postgres" / "data" / "postmaster.pid"
        stale = lock_file.read_text()
        connection.execute("CHECKPOINT")
    # A crash of the machine leaves the lock file. Another process of the same user may then have the number.
    socket_lock_file = home / "postgres" / ".s.PGSQL.5432.lock"
    command = [*embedded.unprivileged_command((home / "postgres").stat()), "sleep", "60"]
    with launch(command) as bystander:
        for name in (lock_file, socket_lock_file):
            name.write_text("\n".join([str(bystander.pid), *stale.splitlines()[1:]]))
        with embedded.running_server(home) as url, psycopg.connect(url) as connection:
            connection.execute("SELECT 1")
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize("content", ["", "123\n"])
def test_truncated_lock_file_is_ignored(home: Path, content: str) -> None:
    with embedded.running_server(home):
        pass
    (home / "postgres" / "data" / "postmaster.pid").write_text(content)

    with embedded.running_server(home) as url, psycopg.connect(url) as connection:
        connection.execute("SELECT 1")


def test_lock_file_of_a_running_server_is_kept(home: Path) -> None:
    with embedded.running_server(home) as url, psycopg.connect(url) as connection:
        lock_file = home / "postgres" / "data" / "postmaster.pid"
        original = lock_file.read_text()
        # The lock file names a wrong socket folder, so that the server seems dead.
        lock_file.write_text("\n".join([*original.splitlines()[:4], str(home), *original.splitlines()[5:]]))

        with pytest.raises(CommandError, match=r"lock file .* already exists"):
            embedded.Server(home).start("")

        assert lock_file.read_text().splitlines()[0] == original.splitlines()[0]
        assert connection.execute("SELECT 1").fetchone() == (1,)
        lock_file.write_text(original)


def test_interrupted_start_leaves_no_server(home: Path) -> None:
    with embedded.running_server(home):
        pass
    program = (
        "import sys; from pathlib import Path; from ops import embedded; "
        "embedded.running_server(Path(sys.argv[1])).__enter__()"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(home)]
    for seconds in (0.1, 0.2, 0.3, 0.4):
        with launch(command, env=environ) as starting:
            time.sleep(seconds)
            os.killpg(starting.pid, signal.SIGINT)
            starting.communicate()
        wait_until(lambda: not runs(home))


# libpq's variables, each with a value that prevents connections, or connections to this server.
ELSEWHERE = {
    "PGSSLMODE": "require",
    "PGGSSENCMODE": "require",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGTARGETSESSIONATTRS": "standby",
    "PGHOSTADDR": "192.0.2.1",
    "PGHOST": "nowhere.example",
    "PGPORT": "1",
    "PGSERVICE": "nowhere",
    "PGUSER": "nobody",
    "PGDATABASE": "nowhere",
    "PGDATA": "/nowhere",
    "PGOPTIONS": "-c nothing=1 -c no_such_setting=1",
    "PGCLIENTENCODING": "LATIN1",
    "PGTZ": "Nowhere",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_libpq_variables_for_another_server_are_ignored(home: Path, name: str) -> None:
    for _ in range(2):
        created = script("db-create", CRUDDUR_DATA_DIR=str(home), **{name: ELSEWHERE[name]})
        assert (created.returncode, created.stderr) == (0, "")
        assert not runs(home)
    query = "SELECT current_database(), current_setting('client_encoding')"
    result = script("db-connect", "-XAtc", query, CRUDDUR_DATA_DIR=str(home), **{name: ELSEWHERE[name]})
    assert (result.stdout, result.returncode) == ("cruddur|UTF8\n", 0)


def test_root_of_a_user_namespace_can_run_a_server(home: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", str(ROOT / "bin" / "db-create")]

    for _ in range(2):
        result = subprocess.run(
            command, env=CLEAN | {"CRUDDUR_DATA_DIR": str(home)}, capture_output=True, text=True, check=False
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert not runs(home)


def test_folder_of_another_user_is_usable_by_root_only(home: Path) -> None:
    if os.geteuid() == 0:
        (home / "postgres").mkdir(parents=True)
        os.chown(home / "postgres", DAEMON, -1)
        # Root runs the server as the folder's owner.
        with embedded.running_server(home) as url, psycopg.connect(url) as connection:
            connection.execute("SELECT 1")
        assert (home / "postgres" / "data").stat().st_uid == DAEMON
    else:
        home.mkdir()
        (home / "postgres").symlink_to("/")
        with (
            pytest.raises(CommandError, match="give CRUDDUR_DATA_DIR a folder of your own"),
            embedded.running_server(home),
        ):
            pass


def test_data_folder_is_private_to_its_owner(home: Path) -> None:
    with embedded.running_server(home):
        assert (home / "postgres").stat().st_mode & 0o777 == 0o700
        assert (home / "postgres").stat().st_uid == os.geteuid()
