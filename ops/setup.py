"""Make the database anew: drop, create, schema, seed, in this order, up to the first failure."""

from ops.command import Database, arguments, chosen, run
from ops.create import create
from ops.drop import drop
from ops.schema_load import schema_load
from ops.seed import seed


def setup(database: Database) -> None:
    """Do all four. Raises `Failure`."""
    drop(database)
    create(database)
    schema_load(database)
    seed(database)


def main() -> None:
    """The command."""
    with chosen(arguments(__doc__, destroys=True).parse_args()) as database:
        setup(database)


if __name__ == "__main__":
    run(main)
