"""Postgres clusters of a test's or a drill's own: they can be stopped, killed and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from harness.certificates import DAY, Identity, signed
from harness.ports import HOST, free_port
from harness.processes import command_name, is_alive, launch, output, parent, tree
from harness.waiting import poll, wait_until
from lib.command_errors import CommandError
from lib.purge import LOCK
from ops.command import Database, data_dir, is_local
from ops.embedded import OWNER, bin_dir, unprivileged_command

NAME = "cruddur"
# The name in the certificates. A client that uses it gives the address too.
TLS_HOST = "database.test"
START_SECONDS, STOP_SECONDS = 60, 20
NOTHING: Mapping[str, str] = MappingProxyType({})
# Commits are durable. A drill with other options takes a protection away.
OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
}
# For clusters that are gone at the end, and no drill kills: no commit waits for the disk.
THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "max_wal_size": "4GB"}
TLS = {"ssl": "on", "ssl_cert_file": "server.pem", "ssl_key_file": "server.pem"}


class Cluster:
    """A cluster under `folder`, with server settings besides the usual. The owner needs no password.

    `bin_folder` has the programs of another Postgres than the embedded one. `host` is the owner's way to it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        options: Mapping[str, str] = NOTHING,
        bin_folder: Path | None = None,
        host: str = HOST,
    ) -> None:
        self._bin_folder = bin_folder or bin_dir()
        self.data = folder / "data"
        self.log = folder / "log"
        self.port = free_port()
        self.host = host
        self.options = OPTIONS | dict(options)
        # setpriv clears the signal of `end_with_parent` when root gives its powers up: it sets the signal again.
        self._run_by = unprivileged_command(folder.stat(), "--pdeathsig=INT")
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, *, user: str = OWNER, dbname: str = NAME) -> str:
        """Return the connection string for `user`."""
        return make_conninfo("", host=self.host, port=self.port, user=user, dbname=dbname)

    def make(self) -> None:
        """Make an empty cluster."""
        self.run(
            *("initdb", "-D", str(self.data), "-U", OWNER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"),
            # Since version 17. Others have the system's.
            *([] if self._bin_folder != bin_dir() else ["--locale-provider=builtin"]),
        )

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of Postgres as the server's user. Raises `CommandError`."""
        output(*self._run_by, str(self._bin_folder / program), *arguments)

    def install_certificate(self, ca: Identity, expires_in: timedelta = DAY) -> None:
        """Give the server a new certificate. A server that runs reads it now."""
        certificate = signed(TLS_HOST, ca, expires_in=expires_in)
        (self.data / "server.pem").touch(mode=0o600)
        (self.data / "server.pem").write_bytes(certificate.pem() + certificate.key_pem())
        if self.is_running:
            self.rows("SELECT pg_reload_conf()")

    def launch(self) -> None:
        """Start the server, and do not wait."""
        settings = [word for name, value in self.options.items() for word in ("-c", f"{name}={value}")]
        command = [*self._run_by, str(self._bin_folder / "postgres"), "-D", str(self.data), "-p", self.port, *settings]
        with self.log.open("ab") as log:
            self._process = launch(command, stdout=log)

    def start(self) -> float:
        """Start the server. Return the monotonic time of the first accepted connection. Raises `CommandError`."""

        def accepts() -> bool:
            # It exits while processes of a killed server remain: then once more.
            if not self.is_running:
                self.launch()
            return self.accepts()

        if poll(accepts, START_SECONDS):
            return time.monotonic()
        # Without the lines about connections that it has refused meanwhile.
        lines = self.log.read_text(errors="replace").splitlines()
        reasons = [line for line in lines if "LOG:" in line or "PANIC:" in line]
        raise CommandError(f"Postgres does not start: {'; '.join(reasons[-5:])}")

    @property
    def is_running(self) -> bool:
        """Return whether the postmaster runs."""
        return self._process is not None and self._process.poll() is None

    def accepts(self) -> bool:
        """Return whether the server accepts the owner's connection."""
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url(dbname="postgres"), connect_timeout=2).close()
            return True
        return False

    def rows(self, statement: str, *parameters: object) -> list[TupleRow]:
        """Return the owner's result of a statement."""
        return rows(self.url(), statement, parameters)

    def kill(self) -> None:
        """End the postmaster by SIGKILL, and wait until its children have ended too."""
        assert self._process is not None
        processes = tree(self._process.pid)
        self._signal(signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, processes)), "the end of a killed Postgres", STOP_SECONDS)

    def freeze(self) -> None:
        """Stop all of its processes (SIGSTOP): sessions stay open, and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """Stop the server as an operator does: sessions end, and the data are checkpointed."""
        self._signal(signal.SIGINT)

    def end(self) -> None:
        """Stop the server, if it runs, for good."""
        if self.is_running:
            self._signal(signal.SIGQUIT)

    def _signal_all(self, number: int) -> None:
        assert self._process is not None
        for pid in tree(self._process.pid):
            os.kill(pid, number)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(STOP_SECONDS)


@contextmanager
def cluster(parent: Path | None = None, *, options: Mapping[str, str] = NOTHING) -> Iterator[Cluster]:
    """Run a new cluster, in a folder of its own below `parent`, while this lasts."""
    with folder(parent or data_dir()) as own:
        server = Cluster(own, options=options)
        server.make()
        with running(server):
            yield server


def tls_cluster(own: Path, ca: Identity, *, options: Mapping[str, str] = NOTHING, host: str = HOST) -> Cluster:
    """Make a cluster with TLS in the folder `own`, with a certificate by `ca`, whose own is in `ca.pem` there."""
    server = Cluster(own, options={**TLS, **options}, bin_folder=tls_programs(), host=host)
    server.make()
    (own / "ca.pem").write_bytes(ca.pem())
    server.install_certificate(ca)
    return server


@contextmanager
def running(server: Cluster) -> Iterator[None]:
    """Run a cluster while this lasts."""
    try:
        server.start()
        yield
    finally:
        server.end()


@contextmanager
def folder(parent: Path | None = None) -> Iterator[Path]:
    """Make a folder of this user's for a cluster, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="cruddur-harness-", dir=parent) as name:
        yield Path(name)


def tls_programs() -> Path:
    """Return the folder of a Postgres with TLS: the embedded one has none. Raises `CommandError`."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        raise CommandError("needs a Postgres with TLS, such as Debian's package postgresql")
    return folders[-1]


def rows(url: str, statement: str, parameters: Sequence[object] | None = None) -> list[TupleRow]:
    """Return the result of a statement, in a session of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        # The description of `SELECT FROM` is empty, and that of a statement without rows None.
        return [] if cursor.description is None else cursor.fetchall()


def postmaster(database: Database) -> int | None:
    """Return the process of the database's server, if that is on this machine."""
    with database.connect() as connection:
        session = connection.info.backend_pid
        if is_local(connection.info.hostaddr) and "postgres" in command_name(session):
            return parent(session)
    return None


def postgres_version(server: Database) -> str:
    """Return the major version of the server."""
    with server.connect("postgres") as connection:
        return str(connection.info.server_version // 10_000)


@contextmanager
def unpurged(url: str, *, when: bool = True) -> Iterator[None]:
    """Hold the purge's lock while this lasts: expired rows stay. Without `when`, do nothing."""
    if not when:
        yield
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        yield


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Lock the table of activities against reads while this lasts."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()
