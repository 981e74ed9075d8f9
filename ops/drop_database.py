"""Drop the database with all its data, unless a session uses it."""

from psycopg.errors import ObjectInUse
from psycopg.sql import SQL, Identifier

from lib.command_errors import CommandError
from ops.command import Database, argument_parser, run, selected_database


def drop(database: Database) -> str:
    """Drop the database, if it exists. Returns a summary.

    Raises `CommandError`, for instance when the operator did not confirm by typing its name.
    """
    with database.connect("postgres") as connection:
        database.confirm("drops the database", connection)
        if not database.exists():
            return "did not exist"
        try:
            connection.execute(SQL("DROP DATABASE IF EXISTS {}").format(Identifier(database.name)))
        except ObjectInUse as error:
            raise CommandError(
                f"{database.name} is in use: stop the programs that bin/db-sessions lists, then try again"
            ) from error
    return "dropped"


def main() -> None:
    """Run the command."""
    with selected_database(argument_parser("bin/db-drop", __doc__, destroys=True).parse_args()) as database:
        database.report(drop(database))


if __name__ == "__main__":
    run(main)
