"""Load db/seed.sql: people and activities to look at. To run it again renews their times.

With --activities and --users: that much made-up data besides, for measurements.
"""

from psycopg import Connection

from ops.bulk import bulk
from ops.command import ROOT, Database, arguments, chosen, run


def seed(database: Database) -> None:
    """Load the seed. Raises `Failure` when the database's name had to be typed and was not."""
    with database.connect() as connection:
        database.confirm("puts the seed into", connection)
        with connection.transaction():
            load_seed(connection)


def load_seed(connection: Connection) -> None:
    """Load the seed in the transaction that `connection` is in."""
    connection.execute((ROOT / "db" / "seed.sql").read_bytes())


def main() -> None:
    """The command."""
    parser = arguments(__doc__, destroys=True)
    parser.add_argument(
        "--activities", type=int, default=0, metavar="N", help="made-up activities, half of them expired"
    )
    parser.add_argument("--users", type=int, default=0, metavar="N", help="made-up people who post them")
    given = parser.parse_args()
    if given.activities < 0 or given.users < 0 or bool(given.activities) > bool(given.users):
        parser.error("--activities and --users are 0 or more, and activities need users to post them")
    with chosen(given) as database:
        seed(database)
        if given.users:
            bulk(database, users=given.users, activities=given.activities)


if __name__ == "__main__":
    run(main)
