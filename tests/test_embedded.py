"""The embedded Postgres: up while somebody holds it, and nobody else's."""

import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from lib.failure import Failure
from ops import embedded
from tests.running import runs

# A user that every Unix has.
DAEMON = 1


def test_the_server_stays_for_whoever_still_holds_it(home: Path) -> None:
    with embedded.hold(home) as url:
        with embedded.hold(home) as same:
            assert url == same
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not runs(home)


def test_a_folder_of_a_long_name_has_its_socket_elsewhere(tmp_path: Path) -> None:
    with embedded.hold(tmp_path / ("long" * 30)) as url, psycopg.connect(url) as connection:
        socket_folder = Path(connection.info.host)
        assert len(str(socket_folder)) < 100
    assert not socket_folder.exists()


def test_a_lock_file_that_is_left_over_names_nobody(home: Path) -> None:
    with embedded.hold(home) as url, psycopg.connect(url) as connection:
        lock_file = home / "postgres" / "data" / "postmaster.pid"
        left_over = lock_file.read_text()
        connection.execute("CHECKPOINT")
    # The machine went down, and the process of that number is somebody else's since.
    with subprocess.Popen(["sleep", "60"]) as bystander:
        lock_file.write_text("\n".join([str(bystander.pid), *left_over.splitlines()[1:]]))
        if os.geteuid() == 0:
            with embedded.hold(home) as url, psycopg.connect(url) as connection:
                connection.execute("SELECT 1")
        else:
            # Postgres can't tell the process from one of its own, and says so.
            with pytest.raises(Failure, match=r"lock file .* already exists"), embedded.hold(home):
                pass
        assert bystander.poll() is None
        bystander.kill()


def test_a_folder_of_somebody_else_is_root_s_to_use_and_nobody_elses(home: Path) -> None:
    if os.geteuid() == 0:
        (home / "postgres").mkdir(parents=True)
        os.chown(home / "postgres", DAEMON, -1)
        # Root runs the server as the folder's owner.
        with embedded.hold(home) as url, psycopg.connect(url) as connection:
            connection.execute("SELECT 1")
        assert (home / "postgres" / "data").stat().st_uid == DAEMON
    else:
        home.mkdir()
        (home / "postgres").symlink_to("/")
        with pytest.raises(Failure, match="give CRUDDUR_HOME a folder of your own"), embedded.hold(home):
            pass


def test_nobody_else_comes_near_the_server(home: Path) -> None:
    with embedded.hold(home):
        assert (home / "postgres").stat().st_mode & 0o777 == 0o700
        assert (home / "postgres").stat().st_uid == os.geteuid()
