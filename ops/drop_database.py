"""Drop the database with all that is in it. Not while somebody uses it."""

from psycopg.errors import ObjectInUse
from psycopg.sql import SQL, Identifier

from lib.command_errors import CommandError
from ops.command import Database, argument_parser, run, selected_database


def drop(database: Database) -> str:
    """Drop it if it is there. Returns what was done.

    Raises `CommandError`, also when its name had to be typed and was not.
    """
    with database.connect("postgres") as connection:
        database.confirm("drops the database", connection)
        if not database.exists():
            return "was not there"
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
