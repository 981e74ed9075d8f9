"""Back up the database into a new file, with a manifest by which bin/db-restore verifies the backup.

The file has pg_dump's custom format. The file and its manifest show the database at the same instant. The deletions of
users are added to the ledger `deletions.ledger` beside the file, or to the one of DELETION_LEDGER.
"""

import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from psycopg import Connection, IsolationLevel

from lib.command_errors import CommandError
from ops import deletion_ledger, manifest, pg_tools
from ops.command import Database, argument_parser, run, selected_database
from ops.manifest import Manifest


def backup(database: Database, file: Path) -> Manifest:
    """Write `file` and its manifest, both or neither. Returns the manifest. Raises `CommandError`."""
    for path in (file, manifest.manifest_path(file)):
        if path.exists():
            raise CommandError(f"{path} exists already, and was not changed: name a new file")
    try:
        # A private folder on the disk of the destination: hard links do not cross disks.
        with tempfile.TemporaryDirectory(prefix=".cruddur-backup-", dir=file.parent) as folder:
            unfinished = Path(folder) / "backup"
            contents = dump(database, unfinished)
            manifest.write(contents, manifest.manifest_path(unfinished))
            with database.connect() as connection:
                deletion_ledger.merge(deletion_ledger.ledger_setting() or deletion_ledger.beside(file), connection)
            publish(unfinished, file)
    except OSError as error:
        raise CommandError(f"{file} can't be written: {error.strerror}") from error
    return contents


def dump(database: Database, file: Path) -> Manifest:
    """Run pg_dump into `file`. Returns the manifest of the same snapshot. Raises `CommandError`."""
    with database.connect() as connection:
        pg_dump = pg_tools.find_program("pg_dump", connection.info.server_version // 10_000)
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        with connection.transaction():
            manifest.normalize_session(connection)
            contents = manifest.compute(connection)
            options = ("--format=custom", f"--snapshot={export_snapshot(connection)}", f"--file={file}")
            pg_tools.run_program(pg_dump, database.url, connection, *options)
    return contents


def export_snapshot(connection: Connection) -> str:
    """Return the id of the transaction's snapshot, with which other sessions see the same rows."""
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None
    return str(row[0])


def publish(unfinished: Path, file: Path) -> None:
    """Give the manifest and then the backup its final name, so that every backup has a manifest. Raises `OSError`."""
    names = {manifest.manifest_path(unfinished): manifest.manifest_path(file), unfinished: file}
    for source, name in names.items():
        source.chmod(0o600)
        try:
            # Unlike a rename, a hard link does not replace a file that was created meanwhile.
            name.hardlink_to(source)
        except OSError:
            if name == file:
                manifest.manifest_path(file).unlink()
            raise


def main() -> None:
    """Run the command."""
    # SIGTERM removes unfinished files, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argument_parser("bin/db-backup", __doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="by default cruddur-<UTC time>.dump in this folder")
    arguments = sys.argv[1:]
    if arguments in ([], ["prod"]):
        arguments.append(f"cruddur-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump")
    args = parser.parse_args(arguments)
    if not args.file.suffix and args.file.parent == Path():
        # `production`, for instance, is probably meant as the database.
        parser.error(f"FILE needs a suffix or a folder, such as ./{args.file}: it could be a mistyped prod")
    with selected_database(args) as database:
        contents = backup(database, args.file)
    size = args.file.stat().st_size
    print(f"{args.file}: database {database.name}, {size:,} bytes, schema {contents.revision}\n{contents}")


if __name__ == "__main__":
    run(main)
