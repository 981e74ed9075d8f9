"""Code that all commands share: the selected database, the arguments, and the exit with one line per failure."""

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

from lib.checks import SCHEMA, check_version, connection_error
from lib.command_errors import CommandError, deprecated, malformed, not_set
from lib.conninfo import CONNECTION_URL_RULE, check_connection_url, check_text, conninfo
from ops import embedded

ROOT = Path(__file__).parents[1]
EXAMPLE_URL = "postgresql://postgres:password@localhost:5432/cruddur"


@dataclass
class Database:
    """A command's database: its owner's URL, and the setting that the URL comes from."""

    setting: str
    url: str
    # The database's name as the operator typed it; `None` before that.
    confirmed: str | None = None

    @property
    def name(self) -> str:
        """Return the database's name."""
        return str(conninfo_to_dict(self.url)["dbname"])

    @property
    def is_embedded(self) -> bool:
        """Return whether the embedded Postgres has this database."""
        return self.setting == "CRUDDUR_DATA_DIR"

    def connect(self, name: str | None = None) -> Connection:
        """Connect in autocommit, to this database or to the same server's database `name`. Raises `CommandError`."""
        try:
            connection = psycopg.connect(make_conninfo(conninfo(self.url), dbname=name or self.name), autocommit=True)
        except psycopg.OperationalError as error:
            raise CommandError(connection_error(self.setting, self.url, error)) from error
        check_version(self.setting, connection)
        return connection

    def exists(self) -> bool:
        """Return whether the server has this database. Raises `CommandError`."""
        with self.connect("postgres") as connection:
            cursor = connection.execute("SELECT FROM pg_database WHERE datname = %s", [self.name])
            return cursor.rowcount == 1

    def has_revision(self) -> bool:
        """Return whether this database has a schema, of whatever revision. Raises `CommandError`."""
        with self.connect() as connection:
            return connection.execute("SELECT to_regclass('public.alembic_version')").fetchone() != (None,)

    def confirm(self, action: str, connection: Connection) -> None:
        """Require the database's name before a destructive action, except on this machine. Raises `CommandError`.

        `action` is a verb phrase, such as `drops the database`.
        """
        is_on_this_machine = self.setting != "PROD_CONNECTION_URL" and is_local(connection.info.hostaddr)
        if is_on_this_machine and self.confirmed is None:
            return
        if self.confirmed is None:
            print(f"This {action} {self.name} on {connection.info.host}.", file=sys.stderr)
            print("Type the database's name in full to go on:", file=sys.stderr, flush=True)
            self.confirmed = sys.stdin.readline().strip()
        if self.confirmed != self.name:
            raise CommandError(f"nothing was done: the name typed is not {self.name}")

    def report(self, *results: str) -> None:
        """Print one line with the database's name and the results."""
        print(f"database {self.name}: {'; '.join(results)}")


def is_local(address: str) -> bool:
    """Return whether a server's address is loopback, or empty: a Unix socket."""
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
def open_database(*, prod: bool = False, confirmed: str | None = None, options: str = "") -> Iterator[Database]:
    """Yield the database of PROD_CONNECTION_URL or CONNECTION_URL. Without a URL, run the embedded one.

    `options` are for the embedded server (`-c name=value`), if it does not run yet. Raises `CommandError`, also when
    the schema is missing or older than a statement.
    """
    with find_database(prod=prod, confirmed=confirmed, options=options) as database:
        try:
            yield database
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction) as error:
            if database.has_revision():
                raise CommandError(f"the schema is older than {SCHEMA}: run bin/db-migrate") from error
            raise CommandError("the database has no schema: run bin/db-schema-load") from error


@contextmanager
def find_database(*, prod: bool, confirmed: str | None, options: str) -> Iterator[Database]:
    """Yield the database that the settings name. Raises `CommandError`."""
    setting = "PROD_CONNECTION_URL" if prod else "CONNECTION_URL"
    url = os.environ.get(setting)
    if url:
        try:
            check_connection_url(url)
        except ValueError as error:
            raise CommandError(malformed(setting, str(error), CONNECTION_URL_RULE, EXAMPLE_URL)) from None
        yield Database(setting, url, confirmed)
    elif prod:
        raise CommandError(not_set(setting, CONNECTION_URL_RULE, EXAMPLE_URL))
    else:
        with embedded.running_server(data_dir(), options=options) as server:
            yield Database("CRUDDUR_DATA_DIR", make_conninfo(server, dbname="cruddur"), confirmed)


def argument_parser(script: str, doc: str | None, *, destroys: bool = False) -> ArgumentParser:
    """Return a parser with the argument `prod`; for a command that destroys rows, also with `--confirm`."""
    parser = ArgumentParser(prog=script, description=doc)
    parser.add_argument("prod", nargs="?", choices=["prod"], help="the database of PROD_CONNECTION_URL")
    if destroys:
        parser.add_argument("--confirm", metavar="NAME", help="the database's name, instead of typing it when asked")
    return parser


def parse_after_prod(parser: ArgumentParser) -> Namespace:
    """Parse the arguments of a command that has words of its own, after `prod`. A parser alone would mix them up."""
    arguments = sys.argv[1:]
    is_prod = arguments[:1] == ["prod"]
    args = parser.parse_args(arguments[is_prod:])
    args.prod = "prod" if is_prod else None
    return args


def selected_database(args: Namespace) -> AbstractContextManager[Database]:
    """Return the database that the parsed arguments name."""
    return open_database(prod=args.prod is not None, confirmed=getattr(args, "confirm", None))


def run(main: Callable[[], int | None]) -> None:
    """Run a command and exit with its status. After a failure, exit with 1 and a line that names the remedy."""
    # From here on Ctrl-C raises `KeyboardInterrupt`, so that context managers clean up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main())
    except CommandError as failure:
        sys.exit("\n".join(f"cruddur: {line}" for line in str(failure).splitlines()))
    except (psycopg.errors.InvalidCatalogName, psycopg.errors.UndefinedObject) as error:
        sys.exit(f"cruddur: {error.diag.message_primary}: run bin/db-create")
    except psycopg.Error as error:
        # Omit the detail: it may quote a row.
        sys.exit(f"cruddur: the database refused: {error.diag.message_primary or error}")
    except KeyboardInterrupt:
        sys.exit(130)
