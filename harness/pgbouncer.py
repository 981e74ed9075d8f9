"""PgBouncer on 127.0.0.1 with the project's own ini, in front of a cluster."""

import re
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.ports import HOST, free_port, is_listening
from harness.postgres import NOTHING, folder
from harness.processes import launch, program
from harness.waiting import poll
from lib.command_errors import CommandError
from ops.command import ROOT
from ops.embedded import unprivileged_command

INI = ROOT / "docs" / "pgbouncer.ini"
PROGRAM = program("pgbouncer")
MISSING = "pgbouncer is not installed: apt-get install pgbouncer"
START_SECONDS, STOP_SECONDS = 30, 10


class Pooler:
    """PgBouncer in front of the database at `database_url`, with its files in the folder `own`.

    `changed` maps names of the ini to other values.
    """

    def __init__(self, own: Path, database_url: str, changed: Mapping[str, str] = NOTHING) -> None:
        if PROGRAM is None:
            raise CommandError(MISSING)
        self.port = free_port()
        self.log = own / "log"
        # PgBouncer refuses to run as root, as Postgres does.
        self._command = [*unprivileged_command(own.stat(), "--pdeathsig=INT"), PROGRAM, str(own / "pgbouncer.ini")]
        self._ini = own / "pgbouncer.ini"
        self._parts = conninfo_to_dict(database_url)
        # Also where Postgres trusts the role: PgBouncer does not.
        self._parts.setdefault("password", secrets.token_urlsafe())
        users = own / "userlist.txt"
        users.write_text('"{user}" "{password}"\n'.format(**self._parts))
        self._settings = {
            "cruddur": "host={host} port={port} dbname='{dbname}'".format(**{"port": 5432} | self._parts),
            "listen_addr": HOST,
            "listen_port": self.port,
            "auth_file": str(users),
        }
        self.configure(changed)

    @property
    def url(self) -> str:
        """The connection string of the database's role, by way of the pooler."""
        return make_conninfo("", **self._parts | {"host": HOST, "port": self.port, "dbname": "cruddur"})

    def configure(self, changed: Mapping[str, str]) -> None:
        """Write the project's ini with this machine's addresses and other values. Raises `CommandError`."""
        text = INI.read_text()
        for name, value in {**self._settings, **changed}.items():
            # A line that is a comment in the project's ini is set too.
            text, count = re.subn(rf"^;?{name} =.*$", f"{name} = {value}", text, flags=re.MULTILINE)
            if count != 1:
                raise CommandError(f"{INI.name} has no {name}")
        self._ini.write_text(text)

    def start(self) -> None:
        """Start PgBouncer, and wait until it listens. Raises `CommandError`."""
        with self.log.open("ab") as log:
            self._process = launch(self._command, stdout=log)
        poll(lambda: is_listening(self.port) or self._process.poll() is not None, START_SECONDS)
        if self._process.poll() is not None or not is_listening(self.port):
            raise CommandError(f"PgBouncer does not start: {' '.join(self.log.read_text().split()[-60:])}")

    def kill(self) -> None:
        """End PgBouncer by SIGKILL: all connections are lost."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal: SIGHUP reloads the ini, SIGUSR1 pauses, SIGUSR2 resumes."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Stop PgBouncer, if it runs, for good."""
        if self._process.poll() is None:
            # Since 1.23 it would wait on SIGTERM for all of its clients to leave.
            self.signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            self.kill()


@contextmanager
def pgbouncer(database_url: str, /, **changed: str) -> Iterator[Pooler]:
    """Run PgBouncer in front of a database, with other values of its ini, while this lasts. Raises `CommandError`."""
    with folder() as own:
        pooler = Pooler(own, database_url, changed)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.end()
