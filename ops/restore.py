"""Restore a backup into a new database on the same server, and verify every row of it.

The database in use is left alone; what is not restored whole is dropped again.
"""

import signal
from pathlib import Path

from psycopg.conninfo import make_conninfo
from psycopg.errors import DuplicateDatabase
from psycopg.sql import SQL, Identifier

from lib.command_errors import CommandError
from ops import manifest, pg_tools
from ops.command import Database, argument_parser, run, selected_database
from ops.create_database import create, create_database
from ops.lambda_role import create_role
from ops.manifest import Manifest

RENAME = (
    r"bin/db-connect -c '\c postgres'"
    """ -c 'ALTER DATABASE "{in_use}" RENAME TO "{in_use}_before"'"""
    """ -c 'ALTER DATABASE "{restored}" RENAME TO "{in_use}"'"""
)
SWITCH = {
    "CONNECTION_URL": "name it in CONNECTION_URL, and in SERVICE_CONNECTION_URL where that is set, and start "
    "bin/serve again",
    "PROD_CONNECTION_URL": "name it in PROD_CONNECTION_URL, and in SERVICE_CONNECTION_URL or CONNECTION_URL where "
    "bin/serve runs, and start that again",
    # The embedded one has no setting for a database's name.
    "CRUDDUR_DATA_DIR": f"stop bin/dev and give it the name of the one in use: {RENAME}",
}


def restore(server: Database, file: Path, name: str) -> Manifest:
    """Make the database `name` of `file`. Returns what it holds. Raises `CommandError`, and then there is none."""
    wanted = manifest.read(manifest.beside(file))
    if not file.is_file():
        raise CommandError(f"{file} is not there")
    target = Database(server.setting, make_conninfo(server.url, dbname=name))
    make(target)
    try:
        create(target)
        # The backup of a database that has a Lambda gives it its rights again.
        create_role(target)
        fill(target, file)
        verify(target, wanted)
    except BaseException:
        # After Ctrl-C neither is a part of it to be taken for the whole.
        unmake(target)
        raise
    return wanted


def make(target: Database) -> None:
    """Make the database, empty. Raises `CommandError` when there is one of that name."""
    with target.connect("postgres") as connection:
        try:
            create_database(connection, target.name)
        except DuplicateDatabase as error:
            raise CommandError(f"there is a database {target.name} already: name one that is not there") from error


def unmake(target: Database) -> None:
    """Drop the database that `make` has made."""
    with target.connect("postgres") as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(target.name)))


def fill(target: Database, file: Path) -> None:
    """Have pg_restore load `file`, all of it or nothing. Raises `CommandError`."""
    with target.connect() as connection:
        server = connection.info.server_version // 10_000
        pg_restore = pg_tools.find_program("pg_restore", server)
        # Whoever restores owns it all: the owner's role need not be there.
        options = ("--exit-on-error", "--single-transaction", "--no-owner", str(file.absolute()))
        try:
            pg_tools.run_program(pg_restore, target.url, connection, *options)
        except CommandError as failure:
            asked = (
                f"is it whole, of a Postgres no newer than {server}, and pg_restore ({pg_restore.version}) of that too?"
            )
            raise CommandError(f"{file} can't be restored: {failure}: {asked}") from failure


def verify(target: Database, wanted: Manifest) -> None:
    """Raise `CommandError` unless every table holds what the manifest says."""
    with target.connect() as connection, connection.transaction():
        manifest.same_texts(connection)
        differing = list(manifest.differences(manifest.take(connection), wanted))
        if differing:
            raise CommandError("\n".join(["what was restored is not what was backed up, and was dropped:", *differing]))
        # A backup holds no statistics, without which queries have bad plans.
        connection.execute("ANALYZE")


def main() -> None:
    """Run the command."""
    # As Ctrl-C: what is unfinished is dropped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argument_parser("bin/db-restore", __doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="what bin/db-backup has written")
    parser.add_argument("name", metavar="NAME", help="the new database's name")
    args = parser.parse_args()
    with selected_database(args) as database:
        held = restore(database, args.file, args.name)
        print(f"{args.name}: every row as it was backed up, schema {held.revision}\n{held}")
        print(f"To switch to it, {SWITCH[database.setting].format(in_use=database.name, restored=args.name)}.")


if __name__ == "__main__":
    run(main)
