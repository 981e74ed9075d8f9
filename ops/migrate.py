"""Migrate the database to the newest revision in db/migrations, forward only."""

from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationInfo
from alembic.util import CommandError as AlembicError
from sqlalchemy.exc import DBAPIError

from lib.checks import SCHEMA
from lib.command_errors import CommandError
from ops.command import ROOT, Database, argument_parser, run, selected_database
from ops.schema_load import wait_for_lock

# A migration that waits for a table's lock blocks all later statements on that table. So it gives up after this time.
LOCK_TIMEOUT = "5s"


def migrate(database: Database, target: str = "head") -> str:
    """Apply the missing revisions up to `target`. Returns a summary. Raises `CommandError` when one fails."""
    applied: list[str] = []

    def record_revision(*, step: MigrationInfo, **_: Any) -> None:
        applied.append(str(step.up_revision_id))

    attributes = {"url": database.url, "lock_timeout": LOCK_TIMEOUT, "on_version_apply": record_revision}
    config = Config(attributes=attributes)
    # The option has the syntax of a configuration file: % begins a reference.
    config.set_main_option("script_location", str(ROOT / "db" / "migrations").replace("%", "%%"))
    with database.connect() as connection:
        # One process migrates or loads the schema, the others wait.
        wait_for_lock(connection, "SELECT pg_try_advisory_lock(%s)")
        try:
            command.upgrade(config, target)
        except AlembicError as error:
            raise CommandError(f"db/migrations: {error}: is this version older than the database's schema?") from error
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            reason = cause.diag.message_primary if isinstance(cause, psycopg.Error) else cause
            raise CommandError(f"the migration stopped: {reason}: run bin/db-migrate again") from error
    return f"applied {', '.join(applied)}" if applied else f"schema {SCHEMA} is the newest"


def main() -> None:
    """Run the command."""
    with selected_database(argument_parser("bin/db-migrate", __doc__).parse_args()) as database:
        database.report(migrate(database))


if __name__ == "__main__":
    run(main)
