"""Load db/seed.sql: example users and activities. A second run renews their times.

With --activities, --users, --likes, --reposts and --follows, also add generated data for measurements.
"""

from psycopg import Connection

from ops.command import ROOT, Database, argument_parser, run, selected_database
from ops.fake_data import Size, fake_data, most_follows


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
    parser.add_argument("--follows", type=int, default=0, metavar="N", help="generated follows of generated users")
    args = parser.parse_args()
    numbers = (args.activities, args.users, args.likes, args.reposts, args.follows)
    if min(numbers) < 0 or bool(args.activities) > bool(args.users):
        parser.error("all numbers are 0 or more, and activities need users to post them")
    if bool(args.likes or args.reposts) > bool(args.activities):
        parser.error("--likes and --reposts need --activities")
    if args.follows > most_follows(args.users):
        parser.error(f"{args.users} generated users have {most_follows(args.users)} follows at most")
    with selected_database(args) as database:
        results = [seed(database)]
        if args.users:
            fake_data(database, Size(args.users, args.activities, args.likes, args.reposts, args.follows))
            results.append(f"added {args.activities} generated activities, {args.users} generated users")
            if args.likes:
                results.append(f"added {args.likes} generated likes")
            if args.reposts:
                results.append(f"added {args.reposts} generated reposts")
            if args.follows:
                results.append(f"added {args.follows} generated follows")
        database.report(*results)


if __name__ == "__main__":
    run(main)
