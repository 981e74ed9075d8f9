"""Migrate the database to the newest revision in db/migrations, forward only.

A database with the tables of the project's journal gets our schema, with every row.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationInfo
from alembic.util import CommandError as AlembicError
from psycopg import Connection
from sqlalchemy.exc import DBAPIError

from lib.checks import SCHEMA
from lib.command_errors import CommandError
from ops import journal
from ops.command import ROOT, Database, argument_parser, run, selected_database
from ops.schema_load import wait_for_lock

MIGRATIONS = ROOT / "db" / "migrations"
# A migration that waits for a table's lock blocks all later statements on that table. So it gives up after this time.
LOCK_TIMEOUT = "5s"
# The limits of the owner's role are for other statements: a build takes as long as it takes. The server looks for its
# client each second, and ends the statement of a migration that was killed. Postgres 15 and 16 have no
# transaction_timeout.
SETTINGS = """
    SELECT set_config(pg_settings.name, given.setting, false)
    FROM (
        VALUES
            ('lock_timeout', %s),
            ('statement_timeout', '0'),
            ('transaction_timeout', '0'),
            ('idle_in_transaction_session_timeout', '0'),
            ('client_connection_check_interval', '1s')
    ) AS given (name, setting)
    JOIN pg_settings ON pg_settings.name = given.name
"""
# A session that still blocks at the next look is named.
LOOK_SECONDS = 5.0
BLOCKERS = """
    SELECT blocking.pid, pg_stat_activity.usename, pg_stat_activity.application_name
    FROM unnest(pg_blocking_pids(%s)) AS blocking (pid)
    LEFT JOIN pg_stat_activity ON pg_stat_activity.pid = blocking.pid
"""


def migrate(database: Database, target: str = "head") -> str:
    """Apply the missing revisions up to `target`. Returns a summary. Raises `CommandError` when one fails."""
    applied: list[str] = []

    def record_revision(*, step: MigrationInfo, **_: Any) -> None:
        applied.append(str(step.up_revision_id))

    with database.connect() as connection, blockers_named(database, connection.info.backend_pid):
        # One process migrates or loads the schema, the others wait. The session that migrates has the lock itself: the
        # next process waits until the server has ended the statement of a killed one.
        wait_for_lock(connection, "SELECT pg_try_advisory_lock(%s)")
        connection.execute(SETTINGS, [LOCK_TIMEOUT])
        connection.autocommit = False
        config = Config(attributes={"connection": connection, "on_version_apply": record_revision})
        # The option has the syntax of a configuration file: % begins a reference.
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        try:
            command.upgrade(config, target)
        except AlembicError as error:
            raise CommandError(f"db/migrations: {error}: is this version older than the database's schema?") from error
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            reason = cause.diag.message_primary if isinstance(cause, psycopg.Error) else cause
            raise CommandError(f"the migration stopped: {reason}: run bin/db-migrate again") from error
    return f"applied {', '.join(applied)}" if applied else f"schema {SCHEMA} is the newest"


@contextmanager
def blockers_named(database: Database, pid: int) -> Iterator[None]:
    """Name the sessions for which the session `pid` waits within the block."""
    is_done = Event()
    with database.connect() as connection, ThreadPoolExecutor(1) as pool:
        pool.submit(name_blockers, connection, pid, is_done)
        try:
            yield
        finally:
            is_done.set()


def name_blockers(connection: Connection, pid: int, is_done: Event) -> None:
    """Print a line on standard error for each session that blocks `pid` in two looks, until `is_done`."""
    before: set[tuple[Any, ...]] = set()
    named: set[tuple[Any, ...]] = set()
    while not is_done.wait(LOOK_SECONDS):
        blockers = set(connection.execute(BLOCKERS, [pid]).fetchall())
        for session, role, application in (before & blockers) - named:
            print(
                f"cruddur: the migration waits for the transaction of the session {session} ({role}, "
                f"{application or 'no application name'}): end it, or let it end",
                file=sys.stderr,
                flush=True,
            )
        named |= before & blockers
        before = blockers


def take_over_journal(database: Database) -> list[str]:
    """Take the journal's tables to our schema, if the database has them. Returns a summary. Raises `CommandError`."""
    with database.connect() as connection:
        connection.execute(SETTINGS, [LOCK_TIMEOUT])
        return journal.take_over(database, connection)


def main() -> None:
    """Run the command."""
    with selected_database(argument_parser("bin/db-migrate", __doc__, destroys=True).parse_args()) as database:
        database.report(*take_over_journal(database), migrate(database))


if __name__ == "__main__":
    run(main)
