"""Load db/seed.sql: example users and activities. A second run renews their times.

With --activities, --users, --likes and --reposts, also add generated data for measurements.
"""

from psycopg import Connection

from ops.command import ROOT, Database, argument_parser, run, selected_database
from ops.fake_data import fake_data


def seed(database: Database) -> str:
    """Load the seed. Returns a summary. Raises `CommandError`, also when the operator did not confirm."""
    with database.connect() as connection:
        database.confirm("puts the seed into", connection)
        with connection.transaction():
            return load_seed(connection)


def load_seed(connection: Connection) -> str:
    """Load the seed in the transaction of `connection`. Returns a summary."""
    statements = connection.execute((ROOT / "db" / "seed.sql").read_bytes()).results()
    users, activities, replies, *_, messages = (statement.rowcount for statement in statements)
    return f"seeded {activities + replies} activities, {users} new users, {messages} new messages"


def main() -> None:
    """Run the command."""
    parser = argument_parser("bin/db-seed", __doc__, destroys=True)
    parser.add_argument(
        "--activities", type=int, default=0, metavar="N", help="generated activities, half of them expired"
    )
    parser.add_argument("--users", type=int, default=0, metavar="N", help="generated users who post them")
    parser.add_argument("--likes", type=int, default=0, metavar="N", help="generated likes of the newest activities")
    parser.add_argument("--reposts", type=int, default=0, metavar="N", help="generated reposts of the same activities")
    args = parser.parse_args()
    if min(args.activities, args.users, args.likes, args.reposts) < 0 or bool(args.activities) > bool(args.users):
        parser.error("all four numbers are 0 or more, and activities need users to post them")
    if bool(args.likes or args.reposts) > bool(args.activities):
        parser.error("--likes and --reposts need --activities")
    with selected_database(args) as database:
        results = [seed(database)]
        if args.users:
            fake_data(database, users=args.users, activities=args.activities, likes=args.likes, reposts=args.reposts)
            results.append(f"added {args.activities} generated activities, {args.users} generated users")
            if args.likes:
                results.append(f"added {args.likes} generated likes")
            if args.reposts:
                results.append(f"added {args.reposts} generated reposts")
        database.report(*results)


if __name__ == "__main__":
    run(main)
