"""Take the database of the project's journal to our schema, in one transaction and with every row.

The journal's first tables and those of its later versions are recognised by their columns. Docs: docs/database.md.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.errors import DeadlockDetected, DependentObjectsStillExist, InsufficientPrivilege, LockNotAvailable
from psycopg.sql import SQL, Identifier

from lib.checks import check_encoding
from lib.command_errors import CommandError
from ops.command import Database
from ops.journal_plan import Plan, description, headline, make_plan
from ops.journal_rows import texts
from ops.journal_tables import NOTHING, check_names, has_journal, has_old_tables, load
from ops.schema_load import load_schema, wait_for_lock

# The source of the journal's uuids.
EXTENSION = "uuid-ossp"
CALLERS = "SELECT FROM pg_proc WHERE pg_proc.probin IS NULL AND pg_proc.prosrc LIKE '%uuid_generate_%'"
# Rows that are in memory at once.
BATCH = 5_000
IN_USE = "another session uses the journal's tables: stop the journal's backend"
REMEDIES: dict[type[psycopg.Error], str] = {
    DependentObjectsStillExist: "a view or a foreign key depends on the journal's tables: drop it",
}


def take_over(database: Database, connection: Connection) -> list[str]:
    """Take the journal's tables to our schema, if the database has them. Returns a summary, empty without them.

    Raises `CommandError`, also for unknown tables of their names and for an unconfirmed plan. Nothing is changed then.
    """
    if not has_old_tables(connection):
        return []
    # A transaction that waits here would stop the build of an index, for which it waits itself.
    wait_for_lock(connection, "SELECT pg_try_advisory_lock(%s)")
    with failures_named(), connection.transaction():
        if not has_journal(connection):
            return []
        check_encoding(database.setting, connection)
        other_tables = check_names(connection)
        # Reads continue until the plan is confirmed.
        connection.execute("LOCK TABLE public.users, public.activities IN SHARE MODE")
        connection.execute(load("facts"))
        plan = make_plan(connection, other_tables)
        print("\n".join([f"database {database.name}: {headline(plan)}", *description(plan)]), flush=True)
        database.confirm("replaces the journal's tables in", connection)
        expired = carry_out(connection, plan)
    return [
        f"{len(plan.users):,} users and {plan.activities:,} activities taken over from the journal's tables",
        f"{expired:,} activities have expired, and the purge deletes them: bin/db-purge, or the service when it runs",
    ]


@contextmanager
def failures_named() -> Iterator[None]:
    """Turn the failures of this block, which have changed nothing, into `CommandError`."""
    try:
        yield
    except (LockNotAvailable, DeadlockDetected) as error:
        raise CommandError(f"{NOTHING}: {IN_USE}, and run bin/db-migrate again") from error
    except psycopg.Error as error:
        if error.sqlstate is None:
            # The connection was lost.
            raise
        reason = error.diag.message_primary or str(error)
        remedy = REMEDIES.get(type(error))
        ending = f": {remedy}, and run bin/db-migrate again" if remedy else ""
        raise CommandError(f"{NOTHING}, because the database refused: {reason}{ending}") from error


def carry_out(connection: Connection, plan: Plan) -> int:
    """Move the rows into our schema, compare them, and drop the journal's tables. Returns the number of expired rows.

    Raises `CommandError` when a row differs.
    """
    connection.execute(load("staging"))
    load_schema(connection)
    copy_rows(connection, "new_users", plan.users)
    replies = plan.threads
    copy_rows(connection, "replies", ((uuid, up, replies.ends_with[uuid]) for uuid, up in replies.parents.items()))
    copy_texts(connection)
    connection.execute(load("insert"))
    if connection.execute(load("check")).fetchone() != (True, True, True, True):
        raise CommandError(f"{NOTHING}: the new rows differ from the journal's, which is a fault of bin/db-migrate")
    connection.execute(load("drop"))
    drop_extension(connection)
    return connection.execute("SELECT FROM public.activities WHERE expires_at <= now()").rowcount


def copy_rows(connection: Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write rows into a table of the schema journal."""
    statement = SQL("COPY journal.{} FROM STDIN").format(Identifier(table))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def copy_texts(connection: Connection) -> None:
    """Write each message with the search text, the mentions and the hashtags that the service derives from it."""
    with connection.cursor("texts") as cursor:
        cursor.execute(load("texts"))
        while batch := cursor.fetchmany(BATCH):
            derived = (texts(uuid, message, is_reply=is_reply) for uuid, message, is_reply in batch)
            copy_rows(connection, "texts", chain.from_iterable(derived))


def drop_extension(connection: Connection) -> None:
    """Drop the extension that made the journal's uuids, if no other table or function needs it.

    A server without the extension, such as the embedded Postgres, could not restore a backup.
    """
    # Postgres does not know what a function's text calls.
    if connection.execute(CALLERS).rowcount:
        return
    with suppress(DependentObjectsStillExist, InsufficientPrivilege), connection.transaction():
        connection.execute(SQL("DROP EXTENSION IF EXISTS {}").format(Identifier(EXTENSION)))
