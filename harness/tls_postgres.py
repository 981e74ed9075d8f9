"""A Postgres whose clients need TLS, with a CA of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from harness.certificates import signed
from harness.postgres import TLS_HOST, folder, running, tls_cluster
from ops.embedded import OWNER


class TlsPostgres(NamedTuple):
    """A server that runs."""

    port: str
    # The folder of its socket, its log, and the CA's certificate.
    folder: Path

    @property
    def owner_url(self) -> str:
        """The owner's URL, by a socket in a folder that no other user may enter."""
        return f"postgresql://{OWNER}@/cruddur?host={quote(str(self.folder), safe='')}&port={self.port}"

    def url(self, role: str, *, host: str = TLS_HOST, dbname: str = "cruddur") -> str:
        """Return the URL of a role, or of a role and its password: `role:password`."""
        return f"postgresql://{role}@{host}:{self.port}/{dbname}?hostaddr=127.0.0.1"

    def by_way_of(self, port: str) -> "TlsPostgres":
        """Return the same server, behind a proxy on `port`."""
        return self._replace(port=port)

    @property
    def ca(self) -> Path:
        """The CA's certificate."""
        return self.folder / "ca.pem"

    def log(self) -> str:
        """Return the server's log."""
        return (self.folder / "log").read_text()


@contextmanager
def tls_postgres(hba: str) -> Iterator[TlsPostgres]:
    """Run a server while this lasts. The owner connects by the socket, other roles as `hba` says."""
    with folder() as own:
        options = {"unix_socket_directories": str(own), "fsync": "off"}
        cluster = tls_cluster(own, signed("The test's CA"), options=options, host=str(own))
        (cluster.data / "pg_hba.conf").write_text(f"local all {OWNER} trust\n{hba}\n")
        with running(cluster):
            yield TlsPostgres(cluster.port, own)
