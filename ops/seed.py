"""Load db/seed.sql: people and activities to look at. To run it again renews their times.

With --activities and --users: that much made-up data besides, for measurements.
"""

from psycopg import Connection

from ops.command import ROOT, Database, argument_parser, run, selected_database
from ops.fake_data import fake_data


def seed(database: Database) -> str:
    """Load the seed. Returns what was done. Raises `CommandError` when the database's name had to be typed and was not."""
    with database.connect() as connection:
        database.confirm("puts the seed into", connection)
        with connection.transaction():
            return load_seed(connection)


def load_seed(connection: Connection) -> str:
    """Load the seed in the transaction that `connection` is in. Returns what was done."""
    statements = connection.execute((ROOT / "db" / "seed.sql").read_bytes()).results()
    users, activities, replies, _, _, messages = (statement.rowcount for statement in statements)
    return f"seeded {activities + replies} activities, {users} new users, {messages} new messages"


def main() -> None:
    """Run the command."""
    parser = argument_parser("bin/db-seed", __doc__, destroys=True)
    parser.add_argument(
        "--activities", type=int, default=0, metavar="N", help="made-up activities, half of them expired"
    )
    parser.add_argument("--users", type=int, default=0, metavar="N", help="made-up people who post them")
    args = parser.parse_args()
    if args.activities < 0 or args.users < 0 or bool(args.activities) > bool(args.users):
        parser.error("--activities and --users are 0 or more, and activities need users to post them")
    with selected_database(args) as database:
        deeds = [seed(database)]
        if args.users:
            fake_data(database, users=args.users, activities=args.activities)
            deeds.append(f"added {args.activities} made-up activities, {args.users} made-up users")
        database.report(*deeds)


if __name__ == "__main__":
    run(main)
