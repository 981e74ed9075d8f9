"""Restore a backup into a new database on the same server, and verify every row.

The database in use does not change. After a failure the new database is dropped.
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
    # No setting names a database of the embedded server.
    "CRUDDUR_DATA_DIR": f"stop bin/dev and give it the name of the one in use: {RENAME}",
}


def restore(server: Database, file: Path, name: str) -> Manifest:
    """Restore `file` into the new database `name`. Returns its manifest. After a `CommandError` it does not exist."""
    expected = manifest.read(manifest.manifest_path(file))
    if not file.is_file():
        raise CommandError(f"{file} does not exist")
    target = Database(server.setting, make_conninfo(server.url, dbname=name))
    create_empty(target)
    try:
        create(target)
        # The backup may grant privileges to the Lambda's role.
        create_role(target)
        run_pg_restore(target, file)
        verify(target, expected)
    except BaseException:
        # Also after Ctrl-C: a partial restore must not look like a whole one.
        drop(target)
        raise
    return expected


def create_empty(target: Database) -> None:
    """Create the database, empty. Raises `CommandError` when one with its name exists."""
    with target.connect("postgres") as connection:
        try:
            create_database(connection, target.name)
        except DuplicateDatabase as error:
            raise CommandError(f"database {target.name} exists already: name a new one") from error


def drop(target: Database) -> None:
    """Drop the database and end its sessions."""
    with target.connect("postgres") as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(target.name)))


def run_pg_restore(target: Database, file: Path) -> None:
    """Run pg_restore on `file`, in one transaction. Raises `CommandError`."""
    with target.connect() as connection:
        server = connection.info.server_version // 10_000
        pg_restore = pg_tools.find_program("pg_restore", server)
        # The restoring role becomes the owner: the server may lack the former owner's role.
        options = ("--exit-on-error", "--single-transaction", "--no-owner", str(file.absolute()))
        try:
            pg_tools.run_program(pg_restore, target.url, connection, *options)
        except CommandError as failure:
            hint = (
                f"the file may be incomplete, or newer than the server (Postgres {server}) "
                f"or pg_restore ({pg_restore.version})"
            )
            raise CommandError(f"{file} can't be restored: {failure}: {hint}") from failure


def verify(target: Database, expected: Manifest) -> None:
    """Compare every table with the manifest. Raises `CommandError` with a line for each difference."""
    with target.connect() as connection, connection.transaction():
        manifest.normalize_session(connection)
        differences = list(manifest.differences(manifest.compute(connection), expected))
        if differences:
            raise CommandError(
                "\n".join(["the restored database differed from its manifest, and was dropped:", *differences])
            )
        # Backups hold no statistics, and without statistics the planner chooses bad plans.
        connection.execute("ANALYZE")


def main() -> None:
    """Run the command."""
    # SIGTERM drops the unfinished database, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argument_parser("bin/db-restore", __doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="a backup that bin/db-backup has written")
    parser.add_argument("name", metavar="NAME", help="the new database's name")
    args = parser.parse_args()
    with selected_database(args) as database:
        contents = restore(database, args.file, args.name)
        print(f"{args.name}: every row as it was backed up, schema {contents.revision}\n{contents}")
        print(f"To switch to it, {SWITCH[database.setting].format(in_use=database.name, restored=args.name)}.")


if __name__ == "__main__":
    run(main)
