"""Show the cost of each query on the present data: rows and 8 kB buffers visited, milliseconds, indexes.

With --volume, also show the cost of writes and of the purge, in transactions that are rolled back, and the sizes of
tables and indexes.
"""

import time
from datetime import timedelta
from operator import attrgetter
from uuid import uuid4

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from lib.command_errors import CommandError
from lib.purge import BATCH, purge_batch
from lib.queries import load_sql, object_statement
from ops.command import Database, argument_parser, run, selected_database
from ops.explain import SAMPLE, Cost, Query, measure, run_explain, service_queries

# The largest tables first. A table's own size includes its long values.
TABLES = """
    SELECT relname, pg_table_size(relid), pg_indexes_size(relid)
    FROM pg_stat_user_tables
    ORDER BY pg_total_relation_size(relid) DESC, relname
"""
INDEXES = """
    SELECT indexrelname, pg_relation_size(indexrelid)
    FROM pg_stat_user_indexes
    ORDER BY pg_relation_size(indexrelid) DESC, indexrelname
"""
# The numbers of posts and of batches of the purge from which a rate is computed. Other work on the machine makes an
# attempt slower, so that the fastest of several counts.
POSTS, BATCHES, ATTEMPTS = 1_000, 5, 5


def write_queries(connection: Connection) -> list[Query]:
    """Return writes of a user, with parameters from the present data. Raises `CommandError`."""
    sample = connection.execute(SAMPLE).fetchone()
    if sample is None:
        raise CommandError("no activity with a reply to write to: run bin/db-seed")
    _, activity, handle, author, reader = sample
    return [
        post_query(reader),
        post_query(reader, "a post with a mention, a hashtag", mentions=[handle], tags=["cloud"]),
        # The author may like the own activity.
        Query("a like", load_sql("likes/create").encode(), {"activity_uuid": activity, "user_uuid": author}),
    ]


def post_query(reader: str, title: str = "a post", **parameters: list[str]) -> Query:
    """Return the statement of a post, whose uuid is a new one."""
    message = "a message of some words, as many users write it"
    row = {"uuid": uuid4(), "reader": reader, "message": message, "search_text": message, "ttl": timedelta(days=1)}
    statement = object_statement("activities/create", has_reader=True)
    return Query(title, statement, row | {"mentions": [], "tags": []} | parameters)


def measure_write(connection: Connection, query: Query) -> Cost:
    """Return the cost of a statement that writes, and undo it. The buffers are those of no trigger, the time is all."""
    costs = []
    for _ in range(1 + ATTEMPTS):
        with connection.transaction(force_rollback=True):
            costs.append(run_explain(connection, query))
    return min(costs[1:], key=attrgetter("milliseconds"))


def post_rate(connection: Connection) -> float:
    """Return the number of posts that one connection writes in a second, without a commit, and undo them."""
    query = post_query(write_queries(connection)[0].parameters["reader"])
    return max(rate_of_posts(connection, query) for _ in range(ATTEMPTS))


def rate_of_posts(connection: Connection, query: Query) -> float:
    """Return the number of posts in a second in one attempt."""
    with connection.transaction(force_rollback=True):
        begun = time.perf_counter()
        for _ in range(POSTS):
            connection.execute(query.statement, {**query.parameters, "uuid": uuid4()})
        return POSTS / (time.perf_counter() - begun)


def purge_rate(connection: Connection) -> float:
    """Return the number of rows that the purge deletes in a second, and undo it. Without expired rows it is 0."""
    return max(rate_of_the_purge(connection) for _ in range(ATTEMPTS))


def rate_of_the_purge(connection: Connection) -> float:
    """Return the number of rows that the purge deletes in a second in one attempt."""
    rows = 0
    with connection.transaction(force_rollback=True):
        begun = time.perf_counter()
        for _ in range(BATCHES):
            batch = purge_batch(connection)
            rows += batch.activities + batch.messages if batch else 0
        return rows / (time.perf_counter() - begun)


def print_cost(query: Query, cost: Cost) -> None:
    """Print a line with the cost of a query."""
    figures = f"{cost.rows:8} {cost.buffers:8} {cost.milliseconds:8.2f}"
    print(f"{query.title:34} {figures}  {', '.join(cost.indexes) or 'none'}")


def print_costs(database: Database, attempts: int) -> None:
    """Print a line with the cost of each query, that of the fastest attempt. Raises `CommandError`."""
    with database.connect() as connection:
        print(f"{'query':34} {'rows':>8} {'buffers':>8} {'ms':>8}  indexes")
        for query in service_queries(connection):
            print_cost(query, measure(connection, query, attempts))


def print_volume(database: Database) -> None:
    """Print the costs of writes, and the rates of posts and of the purge. Raises `CommandError`."""
    with database.connect() as connection:
        database.confirm("writes and rolls back in", connection)
        for query in write_queries(connection):
            print_cost(query, measure_write(connection, query))
        print(f"{'posts a second':34} {post_rate(connection):8.0f}")
        print(f"{'purged rows a second':34} {purge_rate(connection):8.0f}  {BATCHES} batches of {BATCH}")


def print_sizes(database: Database) -> None:
    """Print the rows and sizes of tables, and the sizes of indexes."""
    with database.connect() as connection:
        print(f"{'table':34} {'rows':>10} {'bytes/row':>10} {'in indexes':>10} {'MB':>8}")
        for name, table, indexes in connection.execute(TABLES).fetchall():
            count = connection.execute(SQL("SELECT count(*) FROM {}").format(Identifier(name))).fetchone()
            rows = count[0] if count else 0
            per_row = f"{(table + indexes) / max(rows, 1):10.0f} {indexes / max(rows, 1):10.0f}"
            print(f"{name:34} {rows:10} {per_row} {megabytes(table + indexes)}")
        print(f"\n{'index':34} {'MB':>8}")
        for name, size in connection.execute(INDEXES):
            print(f"{name:34} {megabytes(size)}")
        print()


def megabytes(size: int) -> str:
    """Return a number of bytes in MB, as a column."""
    return f"{size / 1e6:8.2f}"


def main() -> None:
    """Run the command."""
    parser = argument_parser("bin/db-plans", __doc__, destroys=True)
    parser.add_argument(
        "--volume", action="store_true", help="also writes and the purge, which are rolled back, and sizes"
    )
    args = parser.parse_args()
    with selected_database(args) as database:
        if args.volume:
            # The rows of the writes leave their space behind, until VACUUM.
            print_sizes(database)
        print_costs(database, ATTEMPTS if args.volume else 1)
        if args.volume:
            print_volume(database)


if __name__ == "__main__":
    run(main)
