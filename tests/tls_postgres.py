"""A Postgres that is reached by TLS alone, with a CA of its own: the embedded one has no TLS."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import psycopg
import pytest

from faults.certificates import signed
from ops.dev import set_parent_death_signal
from ops.embedded import unprivileged_command
from tests.running import eventually, free_port

# The name that its certificate has. Whoever means it says the address too.
HOST = "database.test"
OWNER = "postgres"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "ssl": "on",
    "ssl_cert_file": "server.pem",
    "ssl_key_file": "server.key",
    "fsync": "off",
}


class TlsPostgres(NamedTuple):
    """A server that runs."""

    port: str
    # Of its socket, its log, and the CA's certificate.
    folder: Path

    @property
    def owner_url(self) -> str:
        """The owner's URL, by a socket in a folder that nobody else may enter."""
        return f"postgresql://{OWNER}@/cruddur?host={quote(str(self.folder), safe='')}&port={self.port}"

    def url(self, who: str, *, host: str = HOST, dbname: str = "cruddur") -> str:
        """The URL of a role, or of a role and its password: `role:password`."""
        return f"postgresql://{who}@{host}:{self.port}/{dbname}?hostaddr=127.0.0.1"

    def by_way_of(self, port: str) -> "TlsPostgres":
        """The same server, behind a proxy on `port`."""
        return self._replace(port=port)

    @property
    def ca(self) -> Path:
        """The CA's certificate."""
        return self.folder / "ca.pem"

    def log(self) -> str:
        """What the server has logged."""
        return (self.folder / "log").read_text()


def programs() -> Path:
    """The folder of a Postgres's programs that know TLS. Skips where there is none."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("needs a Postgres with TLS, such as Debian's package postgresql")
    return found[-1]


@contextmanager
def tls_postgres(hba: str) -> Iterator[TlsPostgres]:
    """A server, for as long as this lasts, that lets in its owner by its socket, and others as `hba` says."""
    with tempfile.TemporaryDirectory(prefix="cruddur-tls-") as name:
        folder, port = Path(name), free_port()
        make(folder, hba)
        process = launch(folder, port)
        try:
            server = TlsPostgres(port, folder)
            eventually(lambda: accepts(server))
            yield server
        finally:
            # SIGTERM would wait for sessions; this ends them.
            process.send_signal(signal.SIGINT)
            process.wait(60)


def make(folder: Path, hba: str) -> None:
    """Make a cluster with a certificate in `folder`."""
    data = folder / "data"
    options = ("-U", OWNER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
    command = [*unprivileged_command(folder.stat()), str(programs() / "initdb"), "-D", str(data), *options]
    subprocess.run(command, check=True, capture_output=True)
    ca = signed("The test's CA")
    server = signed(HOST, ca)
    (folder / "ca.pem").write_bytes(ca.pem())
    (data / "server.pem").write_bytes(server.pem())
    (data / "server.key").touch(mode=0o600)
    (data / "server.key").write_bytes(server.key_pem())
    (data / "pg_hba.conf").write_text(f"local all {OWNER} trust\n{hba}\n")


def launch(folder: Path, port: str) -> "subprocess.Popen[bytes]":
    """Start the server, which ends with us."""
    settings = SETTINGS | {"unix_socket_directories": str(folder)}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    run_by = unprivileged_command(folder.stat(), "--pdeathsig=INT")
    command = [*run_by, str(programs() / "postgres"), "-D", str(folder / "data"), "-p", port, *words]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=set_parent_death_signal,  # noqa: PLW1509  As faults/cluster.py does.
            process_group=0,
        )


def accepts(server: TlsPostgres) -> bool:
    """Whether the server lets its owner in."""
    try:
        psycopg.connect(server.owner_url, dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True
