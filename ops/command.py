"""What every command shares: which database is meant, and how to end with one line when it can't be done."""

import ipaddress
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lib.checks import check_version, connection_error
from lib.command_errors import CommandError, deprecated, malformed, not_set
from lib.conninfo import CONNECTION_URL_RULE, check_connection_url, check_text, conninfo
from ops import embedded

ROOT = Path(__file__).parents[1]
EXAMPLE = "postgresql://postgres:password@localhost:5432/cruddur"


@dataclass
class Database:
    """The database that a command is about, by its owner's URL, and the setting that names it."""

    setting: str
    url: str
    # The name that the operator has typed in full, once they have.
    confirmed: str | None = None

    @property
    def name(self) -> str:
        """The database's name."""
        return str(conninfo_to_dict(self.url)["dbname"])

    @property
    def is_embedded(self) -> bool:
        """Whether it is on the Postgres that we start ourselves."""
        return self.setting == "CRUDDUR_DATA_DIR"

    def connect(self, name: str | None = None) -> Connection:
        """A connection in autocommit, or one to the server's other database `name`. Raises `CommandError`."""
        try:
            connection = psycopg.connect(make_conninfo(conninfo(self.url), dbname=name or self.name), autocommit=True)
        except psycopg.OperationalError as error:
            raise CommandError(connection_error(self.setting, self.url, error)) from error
        check_version(self.setting, connection)
        return connection

    def exists(self) -> bool:
        """Whether the server has it. Raises `CommandError`."""
        with self.connect("postgres") as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [self.name])
            return found.rowcount == 1

    def confirm(self, deed: str, connection: Connection) -> None:
        """Go on with what destroys rows only on this machine, or when the name was typed. Raises `CommandError`."""
        safe = self.setting != "PROD_CONNECTION_URL" and is_local(connection.info.hostaddr)
        if safe and self.confirmed is None:
            return
        if self.confirmed is None:
            print(f"This {deed} {self.name} on {connection.info.host}.", file=sys.stderr)
            print("Type the database's name in full to go on:", file=sys.stderr, flush=True)
            self.confirmed = sys.stdin.readline().strip()
        if self.confirmed != self.name:
            raise CommandError(f"nothing was done: the name typed is not {self.name}")

    def report(self, *deeds: str) -> None:
        """Print in one line what was done to it."""
        print(f"database {self.name}: {'; '.join(deeds)}")


def is_local(address: str) -> bool:
    """Whether the address of the server that has answered is loopback, or none: a Unix socket."""
    return not address or ipaddress.ip_address(address).is_loopback


def data_dir() -> Path:
    """Return the folder of development's data: CRUDDUR_DATA_DIR, by default `.local`. Raises `CommandError`."""
    folder, old_folder = (env_text(name, "a folder", ".local") for name in ("CRUDDUR_DATA_DIR", "CRUDDUR_HOME"))
    if old_folder:
        warn_once(deprecated("CRUDDUR_HOME", "CRUDDUR_DATA_DIR"))
    return Path(folder or old_folder or ROOT / ".local")


@cache
def warn_once(line: str) -> None:
    """Print a line on standard error, at its first call."""
    print(f"cruddur: {line}", file=sys.stderr)


def env_text(name: str, rule: str, example: str) -> str:
    """Return the environment variable `name`, "" if it is not set. Raises `CommandError` for a malformed value."""
    try:
        return check_text(os.environ.get(name, ""))
    except ValueError as error:
        raise CommandError(malformed(name, str(error), rule, example)) from None


@contextmanager
def database(*, prod: bool = False, confirmed: str | None = None, options: str = "") -> Iterator[Database]:
    """The database of PROD_CONNECTION_URL or CONNECTION_URL, else the embedded one, up while this lasts.

    `options` are for the embedded server (`-c name=value`), if it does not run yet.
    """
    setting = "PROD_CONNECTION_URL" if prod else "CONNECTION_URL"
    url = os.environ.get(setting)
    if url:
        try:
            check_connection_url(url)
        except ValueError as error:
            raise CommandError(malformed(setting, str(error), CONNECTION_URL_RULE, EXAMPLE)) from None
        yield Database(setting, url, confirmed)
    elif prod:
        raise CommandError(not_set(setting, CONNECTION_URL_RULE, EXAMPLE))
    else:
        with embedded.running_server(data_dir(), options=options) as server:
            yield Database("CRUDDUR_DATA_DIR", make_conninfo(server, dbname="cruddur"), confirmed)


def argument_parser(script: str, doc: str | None, *, destroys: bool = False) -> ArgumentParser:
    """Make the parser of `script` with the arguments of all commands: `prod`, and for destructive ones `--confirm`."""
    parser = ArgumentParser(prog=script, description=doc)
    parser.add_argument("prod", nargs="?", choices=["prod"], help="the database of PROD_CONNECTION_URL")
    if destroys:
        parser.add_argument("--confirm", metavar="NAME", help="the database's name, instead of typing it when asked")
    return parser


def selected_database(args: Namespace) -> AbstractContextManager[Database]:
    """Return the database that the parsed arguments name."""
    return database(prod=args.prod is not None, confirmed=getattr(args, "confirm", None))


def run(main: Callable[[], int | None]) -> None:
    """Run a command and exit: with its status, or after a failure with 1 and a line that says what to do."""
    # From here on Ctrl-C puts back in order what was begun.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main())
    except CommandError as failure:
        sys.exit("\n".join(f"cruddur: {line}" for line in str(failure).splitlines()))
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction):
        sys.exit("cruddur: the database has no schema: run bin/db-schema-load")
    except (psycopg.errors.InvalidCatalogName, psycopg.errors.UndefinedObject) as error:
        sys.exit(f"cruddur: {error.diag.message_primary}: run bin/db-create")
    except psycopg.Error as error:
        # The detail is left out: it may quote a row.
        sys.exit(f"cruddur: the database refused: {error.diag.message_primary or error}")
    except KeyboardInterrupt:
        sys.exit(130)
