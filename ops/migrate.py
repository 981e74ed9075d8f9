"""Take a database that lives to the newest revision in db/migrations, forward only."""

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from lib.failure import Failure
from ops.command import ROOT, Database, arguments, chosen, run
from ops.schema_load import LOADING


def migrate(database: Database) -> None:
    """Run the revisions that the database does not have yet, all of them or none. Raises `Failure`."""
    config = Config(attributes={"url": database.url})
    # A configuration file's syntax, in which % begins a reference.
    config.set_main_option("script_location", str(ROOT / "db" / "migrations").replace("%", "%%"))
    with database.connect() as connection:
        # One migrates or loads, the others wait.
        connection.execute("SELECT pg_advisory_lock(%s)", [LOADING])
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise Failure(f"db/migrations: {error}: is this version older than the database's schema?") from error
        except DBAPIError as error:
            reason = error.orig.diag.message_primary if isinstance(error.orig, psycopg.Error) else error.orig
            raise Failure(f"nothing was migrated: {reason}") from error


def main() -> None:
    """The command."""
    with chosen(arguments(__doc__).parse_args()) as database:
        migrate(database)


if __name__ == "__main__":
    run(main)
