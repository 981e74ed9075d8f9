"""Load db/schema.sql, all of it or nothing. To run it again changes nothing."""

import time

from psycopg import Connection

from lib.checks import SCHEMA, check_encoding
from lib.command_errors import CommandError
from ops.command import ROOT, Database, argument_parser, run, selected_database

# Any number, as long as all of us take the same: one loads, the others wait.
LOADING = 4567
TURN_SECONDS = 0.05


def schema_load(database: Database) -> str:
    """Load the schema. Returns what was done.

    Raises `CommandError` when the database has another revision of it, or can't hold every character.
    """
    with database.connect() as connection, connection.transaction():
        check_encoding(database.setting, connection)
        return load_schema(connection)


def load_schema(connection: Connection) -> str:
    """Load the schema in the transaction that `connection` is in. Returns what was done. Raises `CommandError`."""
    wait_for_turn(connection, "SELECT pg_try_advisory_xact_lock(%s)")
    found = revision(connection)
    if found not in {None, SCHEMA}:
        raise CommandError(
            f"the schema has revision {found} and not {SCHEMA}: bin/db-migrate takes an older one forward"
        )
    connection.execute((ROOT / "db" / "schema.sql").read_bytes())
    return f"schema {SCHEMA} {'was there already' if found else 'loaded'}"


def wait_for_turn(connection: Connection, statement: str) -> None:
    """Wait until nothing else loads or migrates, by the lock that `statement` tries to take.

    Not within a statement, which would have a snapshot: an index that is built concurrently waits for all of these.
    """
    while connection.execute(statement.encode(), [LOADING]).fetchone() != (True,):
        time.sleep(TURN_SECONDS)


def revision(connection: Connection) -> str | None:
    """The revision of the schema that is loaded, if one is."""
    if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
        return None
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found[0]) if found else None


def main() -> None:
    """Run the command."""
    with selected_database(argument_parser("bin/db-schema-load", __doc__).parse_args()) as database:
        database.report(schema_load(database))


if __name__ == "__main__":
    run(main)
