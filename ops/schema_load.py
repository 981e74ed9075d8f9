"""Load db/schema.sql in one transaction. A second run changes nothing."""

import sys
import time

from psycopg import Connection

from lib.checks import SCHEMA, check_encoding
from lib.command_errors import CommandError
from ops.command import ROOT, Database, argument_parser, run, selected_database

# The id of the advisory lock: one process loads or migrates, the others wait.
SCHEMA_LOCK_ID = 4567
LOCK_POLL_SECONDS = 0.05
# The build of an index takes long, and the waiting process says why it waits.
POLLS_BEFORE_MESSAGE = 40


def schema_load(database: Database) -> str:
    """Load the schema. Returns a summary.

    Raises `CommandError` when the database has another revision, or an encoding other than UTF-8.
    """
    with database.connect() as connection, connection.transaction():
        check_encoding(database.setting, connection)
        return load_schema(connection)


def load_schema(connection: Connection) -> str:
    """Load the schema in the transaction of `connection`. Returns a summary. Raises `CommandError`."""
    wait_for_lock(connection, "SELECT pg_try_advisory_xact_lock(%s)")
    revision = schema_revision(connection)
    if revision not in {None, SCHEMA}:
        raise CommandError(f"the schema has revision {revision} and not {SCHEMA}: bin/db-migrate migrates an older one")
    if revision is None and connection.execute("SELECT to_regclass('public.users')").fetchone() != (None,):
        raise CommandError(
            "the database has a table users without a revision: bin/db-migrate takes the journal's tables to our schema"
        )
    connection.execute((ROOT / "db" / "schema.sql").read_bytes())
    return f"schema {SCHEMA} {'was loaded already' if revision else 'loaded'}"


def wait_for_lock(connection: Connection, statement: str) -> None:
    """Wait until no other process loads or migrates: until `statement`, which tries to take the lock, succeeds.

    A statement that waits would hold a snapshot, and CREATE INDEX CONCURRENTLY waits for all older snapshots.
    """
    polls = 0
    while connection.execute(statement.encode(), [SCHEMA_LOCK_ID]).fetchone() != (True,):
        polls += 1
        if polls == POLLS_BEFORE_MESSAGE:
            print("cruddur: another process migrates or loads the schema: waiting", file=sys.stderr, flush=True)
        time.sleep(LOCK_POLL_SECONDS)


def schema_revision(connection: Connection) -> str | None:
    """Return the revision of the loaded schema, `None` without a schema."""
    if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def main() -> None:
    """Run the command."""
    with selected_database(argument_parser("bin/db-schema-load", __doc__).parse_args()) as database:
        database.report(schema_load(database))


if __name__ == "__main__":
    run(main)
