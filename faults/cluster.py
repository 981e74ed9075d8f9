"""A Postgres cluster of a drill's own: on TCP, durable, and there to be stopped, killed, and started again."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from bench.contestants import free_port
from bench.processes import stat, tree
from lib.command_errors import CommandError
from ops.command import data_dir
from ops.dev import set_parent_death_signal
from ops.embedded import OWNER, bin_dir, unprivileged_command

HOST = "127.0.0.1"
NAME = "cruddur"
START_SECONDS, STOP_SECONDS = 60, 20
NOTHING: Mapping[str, str] = {}
# What durability is made of. A drill that says otherwise takes a protection away.
OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
}


class Cluster:
    """A cluster under `folder`, with server settings besides the usual. Local connections need no password.

    `bin_folder` has the programs of another Postgres than the embedded one.
    """

    def __init__(self, folder: Path, *, options: Mapping[str, str] = NOTHING, bin_folder: Path | None = None) -> None:
        self._bin_folder = bin_folder or bin_dir()
        self.data = folder / "data"
        self.log = folder / "log"
        self.port = free_port()
        self.options = OPTIONS | dict(options)
        # Root's powers are given up on the way, and with them the wish of `set_parent_death_signal`: said again.
        self._run_by = unprivileged_command(folder.stat(), "--pdeathsig=INT")
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, *, user: str = OWNER, dbname: str = NAME) -> str:
        """The connection string for `user`."""
        return make_conninfo("", host=HOST, port=self.port, user=user, dbname=dbname)

    def make(self) -> None:
        """Make an empty cluster."""
        self.run(
            *("initdb", "-D", str(self.data), "-U", OWNER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"),
            # Since version 17. Others have the system's.
            *([] if self._bin_folder != bin_dir() else ["--locale-provider=builtin"]),
        )

    def run(self, program: str, *arguments: str) -> None:
        """Run one of Postgres's own programs as the user that the server runs as. Raises `CommandError`."""
        command = [*self._run_by, str(self._bin_folder / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandError(f"{program} failed: {' '.join((done.stdout + done.stderr).split())}")

    def launch(self) -> None:
        """Start the server, and wait for nothing."""
        settings = [word for name, value in self.options.items() for word in ("-c", f"{name}={value}")]
        command = [*self._run_by, str(self._bin_folder / "postgres"), "-D", str(self.data), "-p", self.port, *settings]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=set_parent_death_signal,
                # Of its own, so that Ctrl-C reaches it by us, and once.
                process_group=0,
            )

    def start(self) -> float:
        """Start the server. When it accepted connections first, by the monotonic clock. Raises `CommandError`."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            # It gives up when processes of one that was killed are still about: then once more.
            if not self.is_running:
                self.launch()
            if self.accepts():
                return time.monotonic()
            time.sleep(0.01)
        # Not whom it refused meanwhile.
        said = [
            line for line in self.log.read_text(errors="replace").splitlines() if "LOG:" in line or "PANIC:" in line
        ]
        raise CommandError(f"Postgres does not start: {'; '.join(said[-5:])}")

    @property
    def is_running(self) -> bool:
        """Whether the postmaster is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The postmaster's process, which was started."""
        assert self._process is not None
        return self._process.pid

    def accepts(self) -> bool:
        """Whether it lets somebody in."""
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url(dbname="postgres"), connect_timeout=2).close()
            return True
        return False

    def kill(self) -> None:
        """End the postmaster by SIGKILL. What it leaves behind ends by itself, and is waited for."""
        left_behind = tree(self.pid)
        self._signal(signal.SIGKILL)
        deadline = time.monotonic() + STOP_SECONDS
        while any(map(is_alive, left_behind)):
            if time.monotonic() > deadline:
                raise CommandError("processes of a killed Postgres stay")
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop the server as an operator does: its sessions are ended, its data are checkpointed."""
        self._signal(signal.SIGINT)

    def end(self) -> None:
        """Stop the server, if it runs, for good."""
        if self.is_running:
            self._signal(signal.SIGQUIT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(STOP_SECONDS)


@contextmanager
def cluster(parent: Path | None = None, *, options: Mapping[str, str] = NOTHING) -> Iterator[Cluster]:
    """A new cluster that runs, in a folder of its own below `parent`, gone at the end."""
    with folder(parent or data_dir()) as own:
        made = Cluster(own, options=options)
        made.make()
        try:
            made.start()
            yield made
        finally:
            made.end()


@contextmanager
def folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder for a cluster, which is the user's who runs the drill, and gone at the end."""
    with tempfile.TemporaryDirectory(prefix="cruddur-faults-", dir=parent) as name:
        yield Path(name)


def is_alive(pid: int) -> bool:
    """Whether a process is there, and is more than an entry that nobody has collected."""
    try:
        return stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
