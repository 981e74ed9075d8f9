"""Take a database that lives to the newest revision in db/migrations, forward only."""

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from lib.failure import Failure
from ops.command import ROOT, Database, arguments, chosen, run
from ops.schema_load import LOADING


def migrate(database: Database, target: str = "head") -> None:
    """Run the revisions up to `target` that are missing. Raises `Failure` at the first that fails."""
    config = Config(attributes={"url": database.url})
    # A configuration file's syntax, in which % begins a reference.
    config.set_main_option("script_location", str(ROOT / "db" / "migrations").replace("%", "%%"))
    with database.connect() as connection:
        # One migrates or loads, the others wait.
        connection.execute("SELECT pg_advisory_lock(%s)", [LOADING])
        try:
            command.upgrade(config, target)
        except CommandError as error:
            raise Failure(f"db/migrations: {error}: is this version older than the database's schema?") from error
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            reason = cause.diag.message_primary if isinstance(cause, psycopg.Error) else cause
            raise Failure(f"not all was migrated: {reason}: run bin/db-migrate again") from error


def main() -> None:
    """The command."""
    with chosen(arguments(__doc__).parse_args()) as database:
        migrate(database)


if __name__ == "__main__":
    run(main)
