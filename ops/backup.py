"""Write the database into a file that is not there yet, and beside it what bin/db-restore verifies it by.

The file is of pg_dump's custom format, and both are of one instant.
"""

import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from psycopg import Connection, IsolationLevel

from lib.command_errors import CommandError
from ops import manifest, pg_tools
from ops.command import Database, argument_parser, run, selected_database
from ops.manifest import Manifest


def backup(database: Database, file: Path) -> Manifest:
    """Write `file` and its manifest, both whole or neither. Returns what they hold. Raises `CommandError`."""
    for taken in (file, manifest.beside(file)):
        if taken.exists():
            raise CommandError(f"{taken} is there already, and was left as it is: name a file that is not")
    try:
        # In a folder that nobody else may enter, on the disk where both are to be.
        with tempfile.TemporaryDirectory(prefix=".cruddur-backup-", dir=file.parent) as folder:
            unfinished = Path(folder) / "backup"
            held = dump(database, unfinished)
            manifest.write(held, manifest.beside(unfinished))
            publish(unfinished, file)
    except OSError as error:
        raise CommandError(f"{file} can't be written: {error.strerror}") from error
    return held


def dump(database: Database, file: Path) -> Manifest:
    """Have pg_dump write `file`. Returns what the database holds at the instant that the file is of."""
    with database.connect() as connection:
        pg_dump = pg_tools.find_program("pg_dump", connection.info.server_version // 10_000)
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        with connection.transaction():
            manifest.same_texts(connection)
            held = manifest.take(connection)
            options = ("--format=custom", f"--snapshot={exported(connection)}", f"--file={file}")
            pg_tools.run_program(pg_dump, database.url, connection, *options)
    return held


def exported(connection: Connection) -> str:
    """The snapshot of the transaction that `connection` is in, for other sessions to see the same."""
    found = connection.execute("SELECT pg_export_snapshot()").fetchone()
    assert found is not None
    return str(found[0])


def publish(unfinished: Path, file: Path) -> None:
    """Give the backup its name, and to its manifest before that: where the one is, the other is too."""
    names = {manifest.beside(unfinished): manifest.beside(file), unfinished: file}
    for source, name in names.items():
        source.chmod(0o600)
        try:
            # Unlike a rename, it does not replace what has come there meanwhile.
            name.hardlink_to(source)
        except OSError:
            if name == file:
                manifest.beside(file).unlink()
            raise


def main() -> None:
    """Run the command."""
    # As Ctrl-C: what is unfinished is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argument_parser("bin/db-backup", __doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="without it: cruddur-<UTC time>.dump in this folder")
    words = sys.argv[1:]
    if words in ([], ["prod"]):
        words.append(f"cruddur-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump")
    args = parser.parse_args(words)
    if not args.file.suffix and args.file.parent == Path():
        # Such as `production`, by which one means the database.
        parser.error(f"FILE has a suffix or a folder, such as ./{args.file}, so that it is no mistyped prod")
    with selected_database(args) as database:
        held = backup(database, args.file)
    print(f"{args.file}: database {database.name}, {args.file.stat().st_size:,} bytes, schema {held.revision}\n{held}")


if __name__ == "__main__":
    run(main)
