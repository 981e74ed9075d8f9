"""Show what each read costs on the data that are there: rows and 8 kB buffers visited, milliseconds, indexes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from lib.command_errors import CommandError
from lib.pagination import Order
from lib.queries import PagedQuery, array_statement, load_sql, object_statement, page_statement
from ops.command import Database, argument_parser, run, selected_database
from services.home_activities import HOME
from services.messages import MESSAGES
from services.notifications_activities import NOTIFICATIONS
from services.search_activities import MAX_MATCHES, SEARCH, SEARCH_RARE
from services.show_activity import REPLIES
from services.user_activities import USER

# Somebody who posts, and an activity that is answered: near the middle of what lives.
SAMPLE = """
    SELECT live_activities.created_at, live_activities.uuid, users.handle, users.uuid
    FROM live_activities JOIN users ON users.uuid = live_activities.user_uuid
    WHERE live_activities.replies_count > 0
    ORDER BY live_activities.created_at DESC
    OFFSET (SELECT count(*) / 2 FROM live_activities WHERE replies_count > 0)
    LIMIT 1
"""
# The longest conversation, and who has said more in it.
CONVERSATION = """
    SELECT messages.message_group_uuid, messages.user_uuid
    FROM messages
    GROUP BY messages.message_group_uuid, messages.user_uuid
    ORDER BY count(*) DESC
    LIMIT 1
"""


class Cost(NamedTuple):
    """What one run of a statement took: rows and buffers of tables and indexes, and the indexes' names."""

    rows: int
    buffers: int
    milliseconds: float
    indexes: tuple[str, ...]


class Read(NamedTuple):
    """A statement, with values for its parameters."""

    title: str
    statement: bytes
    parameters: dict[str, Any]


def reads(connection: Connection) -> list[Read]:
    """Every read of the service, for a person and an activity that are there. Raises `CommandError`."""
    sample = connection.execute(SAMPLE).fetchone()
    conversation = connection.execute(CONVERSATION).fetchone()
    if sample is None or conversation is None:
        raise CommandError("there is no activity with a reply, or no conversation, to look at: run bin/db-seed")
    created_at, uuid, handle, author = sample
    group, speaker = conversation

    return [
        page("home", HOME),
        page("home, a page in the middle", HOME, created_at=created_at, uuid=uuid),
        page("home, the page before it", HOME, Order.OLDEST_FIRST, created_at=created_at, uuid=uuid),
        page("profile", USER, handle=handle),
        page("status", REPLIES, handle=handle, activity_uuid=uuid),
        page("search, a term of one activity", SEARCH_RARE, longest="%imported%", words=["%imported%", "%seed%"]),
        page("search, a term of one in thirty", SEARCH, words=["%yesterday%"]),
        page("search, a term of all", SEARCH, words=["%e%"]),
        page("search, two letters of none", SEARCH, words=["%zq%"]),
        *(counting(word) for word in ("imported", "yesterday", "the")),
        page("notifications", NOTIFICATIONS, user_uuid=author),
        page("messages", MESSAGES, message_group_uuid=group, user_uuid=speaker),
        Read("message groups", array_statement("message_groups/index"), {"user_uuid": speaker, "limit": 20}),
        Read("users short", object_statement("users/short"), {"handle": handle}),
    ]


def page(title: str, feed: PagedQuery, walk: Order | None = None, **given: Any) -> Read:
    """The first page of a feed, unless `created_at` and `uuid` say where it begins, and `walk` which way."""
    way = walk or feed.order
    start = {"created_at": way.start.created_at, "uuid": way.start.uuid}
    return Read(title, page_statement(feed, way, is_default_limit=True), start | given)


def counting(word: str) -> Read:
    """The count of the activities that hold a word, by which a search chooses its way."""
    parameters = {"longest": f"%{word}%", "limit": MAX_MATCHES + 1}
    return Read(f"search, counting {word}", load_sql("activities/search_count").encode(), parameters)


def cost(connection: Connection, read: Read) -> Cost:
    """Run a statement and tell what it took."""
    row: TupleRow | None = None
    # Twice: the first time reads the catalogue too.
    for _ in range(2):
        explain = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + read.statement
        row = connection.execute(explain, read.parameters, prepare=False).fetchone()
    assert row is not None
    (explained,) = row[0]
    nodes = list(walk(explained["Plan"]))
    scans = [node for node in nodes if "Scan" in node["Node Type"] and "Relation Name" in node]
    return Cost(
        rows=sum(node["Actual Loops"] * visited(node) for node in scans),
        buffers=explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"],
        milliseconds=explained["Execution Time"],
        indexes=tuple(dict.fromkeys(node["Index Name"] for node in nodes if "Index Name" in node)),
    )


def visited(node: dict[str, Any]) -> int:
    """How many rows a scan looked at each time, also those that it threw away."""
    thrown = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int(node["Actual Rows"] + thrown)


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's node, and all below it."""
    yield node
    for child in node.get("Plans", ()):
        yield from walk(child)


def plans(database: Database) -> None:
    """Print a line for each read. Raises `CommandError`."""
    with database.connect() as connection:
        print(f"{'read':34} {'rows':>8} {'buffers':>8} {'ms':>8}  indexes")
        for read in reads(connection):
            took = cost(connection, read)
            figures = f"{took.rows:8} {took.buffers:8} {took.milliseconds:8.2f}"
            print(f"{read.title:34} {figures}  {', '.join(took.indexes) or 'none'}")


def main() -> None:
    """Run the command."""
    with selected_database(argument_parser("bin/db-plans", __doc__).parse_args()) as database:
        plans(database)


if __name__ == "__main__":
    run(main)
