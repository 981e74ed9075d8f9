"""Recreate the database: drop, create, load the schema, load the seed. The first failure ends this."""

from collections.abc import Iterator

from ops.command import Database, argument_parser, run, selected_database
from ops.create_database import create
from ops.drop_database import drop
from ops.schema_load import schema_load
from ops.seed import seed


def setup(database: Database) -> Iterator[str]:
    """Run the four steps and yield the summary of each. Raises `CommandError`."""
    for step in (drop, create, schema_load, seed):
        yield step(database)


def main() -> None:
    """Run the command."""
    with selected_database(argument_parser("bin/db-setup", __doc__, destroys=True).parse_args()) as database:
        database.report(*setup(database))


if __name__ == "__main__":
    run(main)
