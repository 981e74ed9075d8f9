"""Cost of each read of the service: rows and 8 kB buffers visited, milliseconds, indexes."""

from collections.abc import Iterator
from datetime import timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from lib.command_errors import CommandError
from lib.database import has_reader
from lib.pagination import NEWEST, Order
from lib.queries import PagedQuery, array_statement, load_sql, object_statement, page_statement
from services.blocks import BLOCKED
from services.following_activities import FOLLOWING_ACTIVITIES
from services.follows import FOLLOWERS, FOLLOWING
from services.home_activities import HOME, VISIBLE_HOME
from services.likes import LIKED, LIKES
from services.messages import MESSAGES
from services.mutes import MUTED
from services.notifications import NOTIFICATIONS as ALL_NOTIFICATIONS
from services.notifications_activities import NOTIFICATIONS
from services.reposts import REPOSTS
from services.search_activities import MAX_MATCHES, SEARCH, SEARCH_RARE
from services.show_activity import REPLIES, UNBLOCKED_REPLIES
from services.tagged_activities import TAGGED, VISIBLE_TAGGED
from services.trends import MAX_AGE_SECONDS, MAX_TAGGINGS
from services.user_activities import USER, USER_WITH_REPOSTS

# A live activity with a reply, near the middle of the feed, and its author.
SAMPLE = """
    SELECT live_activities.created_at, live_activities.uuid, users.handle, users.uuid, users.cognito_user_id
    FROM live_activities JOIN users ON users.uuid = live_activities.user_uuid
    WHERE live_activities.replies_count > 0
    ORDER BY live_activities.created_at DESC
    OFFSET (SELECT count(*) / 2 FROM live_activities WHERE replies_count > 0)
    LIMIT 1
"""
# The user with the most mentions, else any user.
MENTIONED = """
    SELECT users.cognito_user_id
    FROM users LEFT JOIN mentionings ON mentionings.user_uuid = users.uuid
    GROUP BY users.uuid
    ORDER BY count(mentionings.activity_uuid) DESC
    LIMIT 1
"""
# The activity with the most likes or reposts, and one of the users who like it or reposted it.
REACTION = """
    SELECT reactions.activity_uuid, users.uuid, users.handle, users.cognito_user_id
    FROM {table} AS reactions JOIN users ON users.uuid = reactions.user_uuid
    WHERE reactions.activity_uuid = (
        SELECT live_activities.uuid FROM live_activities ORDER BY live_activities.{count} DESC LIMIT 1
    )
    ORDER BY reactions.created_at
    LIMIT 1
"""
# The user with the most follows, and the user with the most followers.
FOLLOW = """
    SELECT follower.uuid, follower.cognito_user_id, follower.handle, followed.handle
    FROM users AS follower, users AS followed
    WHERE
        follower.uuid = (
            SELECT follow_counts.user_uuid FROM follow_counts ORDER BY follow_counts.following_count DESC LIMIT 1
        )
        AND followed.uuid = (
            SELECT follow_counts.user_uuid FROM follow_counts ORDER BY follow_counts.followers_count DESC LIMIT 1
        )
"""
# The longest conversation, and the user with the most messages in it.
CONVERSATION = """
    SELECT messages.message_group_uuid, messages.user_uuid
    FROM messages
    GROUP BY messages.message_group_uuid, messages.user_uuid
    ORDER BY count(*) DESC
    LIMIT 1
"""

# The hashtag of the most activities.
TAG = "SELECT taggings.tag FROM taggings GROUP BY taggings.tag ORDER BY count(*) DESC LIMIT 1"


class Cost(NamedTuple):
    """The cost of one run: rows and 8 kB buffers of tables and indexes, and the names of the indexes."""

    rows: int
    buffers: int
    milliseconds: float
    indexes: tuple[str, ...]


class Query(NamedTuple):
    """A statement with values for its parameters."""

    title: str
    statement: bytes
    parameters: dict[str, Any]


def service_queries(connection: Connection) -> list[Query]:
    """Return every query of the service, with parameters from the present data. Raises `CommandError`."""
    sample = connection.execute(SAMPLE).fetchone()
    conversation = connection.execute(CONVERSATION).fetchone()
    if sample is None or conversation is None:
        raise CommandError("no activity with a reply, or no conversation, to query: run bin/db-seed")
    created_at, uuid, handle, author, sub = sample
    group, sender = conversation
    (mentioned,) = connection.execute(MENTIONED).fetchone() or (sub,)
    # Without any like or repost the queries find no row.
    liked, liker, _, reader = reaction(connection, "likes") or (uuid, author, handle, sub)
    reposted, _, reposter, _ = reaction(connection, "reposts") or (uuid, author, handle, sub)
    follow = connection.execute(FOLLOW).fetchone() or (author, sub, handle, handle)
    middle = {"created_at": created_at, "uuid": uuid}

    return [
        page_query("home", HOME),
        page_query("home, a page in the middle", HOME, **middle),
        page_query("home, the page before it", HOME, Order.OLDEST_FIRST, **middle),
        page_query("home, with a token", VISIBLE_HOME, reader=reader),
        page_query("profile", USER, handle=handle),
        page_query("profile with reposts", USER_WITH_REPOSTS, handle=reposter),
        page_query("profile with reposts, with a token", USER_WITH_REPOSTS, handle=reposter, reader=reader),
        page_query("status", REPLIES, handle=handle, activity_uuid=uuid),
        page_query("status, with a token", UNBLOCKED_REPLIES, handle=handle, activity_uuid=uuid, reader=reader),
        page_query("search, a term of one activity", SEARCH_RARE, longest="%imported%", words=["%imported%", "%seed%"]),
        page_query("search, a term of one in thirty", SEARCH, words=["%yesterday%"]),
        page_query("search, a term of all", SEARCH, words=["%e%"]),
        page_query("search, two letters of none", SEARCH, words=["%zq%"]),
        page_query("search, a term of all, with a token", SEARCH, words=["%e%"], reader=reader),
        *(count_query(word) for word in ("imported", "yesterday", "the")),
        page_query("notifications", NOTIFICATIONS, reader=mentioned),
        page_query("notifications of all kinds", ALL_NOTIFICATIONS, reader=mentioned),
        unread_query(mentioned),
        *hashtag_queries(connection, reader),
        page_query("likes of an activity", LIKES, activity_uuid=liked),
        page_query("reposts of an activity", REPOSTS, activity_uuid=reposted),
        page_query("liked", LIKED, user_uuid=liker, reader=reader),
        *follow_queries(follow, middle),
        page_query("messages", MESSAGES, message_group_uuid=group, user_uuid=sender),
        Query("message groups", array_statement("message_groups/index"), {"user_uuid": sender, "limit": 20}),
        Query("users short", object_statement("users/short"), {"handle": handle}),
    ]


def hashtag_queries(connection: Connection, reader: str) -> list[Query]:
    """Return the queries of the most frequent hashtag, without and with a reader, and of trends."""
    (tag,) = connection.execute(TAG).fetchone() or ("cloud",)
    trends = {"margin": timedelta(seconds=MAX_AGE_SECONDS), "scan_limit": MAX_TAGGINGS}
    return [
        page_query("hashtag", TAGGED, tag=tag),
        page_query("hashtag, with a token", VISIBLE_TAGGED, tag=tag, reader=reader),
        Query("trends", array_statement("trends/index"), trends),
    ]


def follow_queries(follow: TupleRow, middle: dict[str, Any]) -> list[Query]:
    """Return the queries of a follow: uuid, sub and handle of the follower, and handle of the followed user."""
    follower, reader, handle, followed_handle = follow
    pair = {"user_uuid": follower, "handles": [handle, followed_handle]}
    return [
        page_query("following, activities", FOLLOWING_ACTIVITIES, reader=reader),
        page_query("following, a page in the middle", FOLLOWING_ACTIVITIES, reader=reader, **middle),
        page_query("following, the page before it", FOLLOWING_ACTIVITIES, Order.OLDEST_FIRST, reader=reader, **middle),
        page_query("followers of a user", FOLLOWERS, handle=followed_handle),
        page_query("users whom a user follows", FOLLOWING, handle=handle),
        Query("relationships", array_statement("users/relationships"), pair),
        Query(
            "suggested users",
            array_statement("users/suggested", has_reader=True),
            {"user_uuid": follower, "reader": reader},
        ),
        page_query("muted users", MUTED, user_uuid=follower),
        page_query("blocked users", BLOCKED, user_uuid=follower),
    ]


def reaction(connection: Connection, table: str) -> TupleRow | None:
    """Return a row of `likes` or `reposts` with its user. Without any row return `None`."""
    statement = SQL(REACTION).format(table=Identifier(table), count=Identifier(f"{table}_count"))
    return connection.execute(statement).fetchone()


def page_query(title: str, feed: PagedQuery, order: Order | None = None, **parameters: Any) -> Query:
    """Return the query of a page: the first one in the feed's order, unless `parameters` have a keyset."""
    is_first = "uuid" not in parameters
    statement = page_statement(
        feed, order or feed.order, is_first=is_first, is_default_limit=True, has_reader=has_reader(parameters)
    )
    return Query(title, statement, parameters)


def unread_query(reader: str) -> Query:
    """Return the query that counts the unread notifications of the user with the claim `sub` `reader`."""
    statement = object_statement("notifications/unread_count", has_reader=True)
    return Query("unread notifications", statement, {"uuid": NEWEST.uuid, "reader": reader})


def count_query(word: str) -> Query:
    """Return the query that counts the matches of a word: a search chooses its statement by this count."""
    parameters = {"longest": f"%{word}%", "limit": MAX_MATCHES + 1}
    return Query(f"search, counting {word}", load_sql("activities/search_count").encode(), parameters)


def measure(connection: Connection, query: Query, attempts: int = 1) -> Cost:
    """Run a query with EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) and return its cost, that of the fastest attempt."""
    # The first run also reads the system catalog, so it does not count.
    run_explain(connection, query)
    return min((run_explain(connection, query) for _ in range(attempts)), key=attrgetter("milliseconds"))


def run_explain(connection: Connection, query: Query) -> Cost:
    """Run a query with EXPLAIN (ANALYZE, BUFFERS), once."""
    explain = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query.statement
    row = connection.execute(explain, query.parameters, prepare=False).fetchone()
    assert row is not None
    return plan_cost(row)


def plan_cost(row: TupleRow) -> Cost:
    """Return the cost that the row of EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) shows."""
    (plan,) = row[0]
    nodes = list(plan_nodes(plan["Plan"]))
    scans = [node for node in nodes if "Scan" in node["Node Type"] and "Relation Name" in node]
    return Cost(
        rows=sum(node["Actual Loops"] * rows_visited(node) for node in scans),
        buffers=plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"],
        milliseconds=plan["Execution Time"],
        indexes=tuple(dict.fromkeys(node["Index Name"] for node in nodes if "Index Name" in node)),
    )


def rows_visited(node: dict[str, Any]) -> int:
    """Return the number of rows that a scan node visited in each loop, including the removed ones."""
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int(node["Actual Rows"] + removed)


def plan_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node of a plan, and all nodes below it."""
    yield node
    for child in node.get("Plans", ()):
        yield from plan_nodes(child)
