"""Restore a backup into a new database on the same server, verify every row, and delete what has ended since.

Users who were deleted after the backup are deleted again, by the ledger of deletions beside the backup and the one of
DELETION_LEDGER. So are expired rows. The database in use does not change. After a failure the new database is dropped.
"""

import signal
from pathlib import Path
from typing import NamedTuple

from psycopg.conninfo import make_conninfo
from psycopg.errors import DuplicateDatabase
from psycopg.sql import SQL, Identifier

from lib import ledger
from lib.command_errors import CommandError
from lib.ledger import EXAMPLE_LEDGER, LEDGER_RULE, Deletion
from ops import deletion_ledger, manifest, pg_tools
from ops.apply_ledger import Applied, apply
from ops.command import Database, argument_parser, run, selected_database
from ops.create_database import create, create_database
from ops.lambda_role import create_role
from ops.manifest import Manifest
from ops.migrate import migrate
from ops.purge import describe

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


class Restored(NamedTuple):
    """The backup's manifest, what was deleted after its verification, and lines about the ledgers."""

    contents: Manifest
    applied: Applied
    notes: list[str]


def restore(server: Database, file: Path, name: str) -> Restored:
    """Restore `file` into the new database `name`. After a `CommandError` it does not exist."""
    expected = manifest.read(manifest.manifest_path(file))
    if not file.is_file():
        raise CommandError(f"{file} does not exist")
    deletions, notes = read_ledgers(file)
    target = Database(server.setting, make_conninfo(server.url, dbname=name))
    create_empty(target)
    try:
        create(target)
        # The backup may grant privileges to the Lambda's role.
        create_role(target)
        run_pg_restore(target, file)
        verify(target, expected)
        applied = forget(target, deletions, notes)
    except BaseException:
        # Also after Ctrl-C: a partial restore must not look like a whole one.
        drop(target)
        raise
    return Restored(expected, applied, notes)


def read_ledgers(file: Path) -> tuple[list[Deletion], list[str]]:
    """Return the deletions of both ledgers, and a line about each.

    Raises `CommandError` for an unreadable one, and when that of the setting is missing.
    """
    setting = deletion_ledger.ledger_setting()
    paths = [deletion_ledger.beside(file), setting]
    found = {path: deletion_ledger.read(path) for path in paths if path is not None}
    if setting is not None and found[setting] is None:
        raise CommandError(
            f"DELETION_LEDGER: {setting} does not exist; DELETION_LEDGER is {LEDGER_RULE}, such as "
            f"DELETION_LEDGER={EXAMPLE_LEDGER}: mount its disk, or unset DELETION_LEDGER to restore without that ledger"
        )
    notes = []
    for path, each in found.items():
        if each is not None:
            notes.append(f"{path}: {len(each.deletions)} deletions")
        if each is not None and each.malformed:
            notes.append(f"{path}: {each.malformed} lines are malformed, and were skipped")
    if not notes:
        places = " or ".join(map(str, found))
        notes.append(f"no ledger at {places}: users who were deleted after the backup are here again")
    return list(ledger.union(*(each.deletions.values() for each in found.values() if each)).values()), notes


def forget(target: Database, deletions: list[Deletion], notes: list[str]) -> Applied:
    """Delete the users of the ledgers and all expired rows. Raises `CommandError`.

    A backup of a schema without deletions is migrated to the newest one before.
    """
    with target.connect() as connection:
        is_old = not deletion_ledger.has_deletions(connection)
    if is_old:
        notes.append(f"{target.name} was migrated, because its schema had no deletions: {migrate(target)}")
    with target.connect() as connection:
        applied = apply(connection, deletions)
        # Backups hold no statistics, and without statistics the planner chooses bad plans.
        connection.execute("ANALYZE")
    return applied


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


def main() -> None:
    """Run the command."""
    # SIGTERM drops the unfinished database, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argument_parser("bin/db-restore", __doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="a backup that bin/db-backup has written")
    parser.add_argument("name", metavar="NAME", help="the new database's name")
    args = parser.parse_args()
    with selected_database(args) as database:
        contents, applied, notes = restore(database, args.file, args.name)
        print(f"{args.name}: every row as it was backed up, schema {contents.revision}\n{contents}")
        print("\n".join([*notes, *applied.notes()]))
        print(f"Since the backup: {applied.users} users, {describe(applied.purged)} deleted")
        print(f"To switch to it, {SWITCH[database.setting].format(in_use=database.name, restored=args.name)}.")


if __name__ == "__main__":
    run(main)
