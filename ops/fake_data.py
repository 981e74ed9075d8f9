"""Generate users, activities, likes, reposts, follows and conversations. A fixed seed makes all runs the same."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.sql import SQL, Identifier
from tqdm import tqdm

from lib.command_errors import CommandError
from lib.text import fold
from ops.command import Database
from services.follows import MAX_FOLLOWS

TEXT = """
about after again always another around autumn because before begins behind better between bread bright bring
brown bus called changed child city clear close cloud coffee cold color could country cover dark day deploy
different door draft dream early earth eight empty engine evening every example family field finally five
floor follow found four friend front garden glass going good great green hand happy harbor head heard heavy
hello here home hour house idea index inside island just keep kitchen know large last late laugh learn leave
letter light line little live long look lost love machine made many market matter maybe might minute moment
money month moon more morning mountain music name near need never new next night nine north nothing number
ocean often old once only open other outside over own page paper park people person picture piece place plan
plant play please point query quick quiet rain read ready really red remember rest right river road room round
same school sea second seen seven shadow share ship short should simple since six sleep slow small snow some
song soon sound south spring stand star start station still stone stop story street strong summer sun table
talk team tell thing think three time today together tomorrow town train travel tree true turn under until
very voice wait walk wall want warm watch water weather week well west what when where white who wind window
winter with word work world write year yellow yesterday young
"""
WORDS = tuple(TEXT.split())
MONTH = timedelta(days=30)
REPLIES, MENTIONS = 0.2, 0.05
# One activity of this many has a hashtag: an odd number, because every second activity has expired. The first words are
# the most frequent hashtags.
TAGGED = 9
# A reply's parent is one of this many newest activities.
RECENT = 50
# Each of the first 10,000 users has a conversation with the first user and with the next one, so the first user has one
# with all of these. One conversation has 1,000 messages. More conversations would outnumber what a command asks for.
CONVERSATION_USERS = 10_000
CONVERSATIONS = """
WITH numbered AS (
    SELECT users.uuid, row_number() OVER (ORDER BY users.uuid) AS n FROM users WHERE users.uuid = ANY (%(user_uuids)s)
),
pairs AS (
    SELECT DISTINCT LEAST(one.uuid, other.uuid) AS lesser, GREATEST(one.uuid, other.uuid) AS greater
    FROM numbered AS other
    CROSS JOIN LATERAL (VALUES (1), (other.n - 1)) AS member (n)
    -- An equality: Postgres joins by a hash, and not each user with all others.
    JOIN numbered AS one ON one.n = member.n
    WHERE other.n > 1
)
INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid, last_message_at)
SELECT message_group_uuid(lesser, greater), lesser, greater, now() - interval '30 days' FROM pairs
"""
MESSAGES = """
WITH numbered AS (
    SELECT message_groups.*, row_number() OVER (ORDER BY message_groups.lesser_user_uuid, message_groups.uuid) AS n
    FROM message_groups
    WHERE message_groups.lesser_user_uuid = ANY (%(user_uuids)s)
)
INSERT INTO messages (message_group_uuid, user_uuid, message, created_at)
SELECT numbered.uuid, numbered.lesser_user_uuid, 'message ' || number, now() - number * interval '1 minute'
FROM numbered, generate_series(1, CASE numbered.n WHEN 1 THEN 1000 ELSE 3 END) AS number
"""
# All users like (or repost) the newest activity, then all like the one before it, and so on.
REACTIONS = """
WITH numbered AS (
    SELECT users.uuid, row_number() OVER (ORDER BY users.uuid) - 1 AS n
    FROM users
    WHERE users.uuid = ANY (%(user_uuids)s)
),
newest AS (
    SELECT
        live_activities.uuid,
        live_activities.user_uuid,
        row_number() OVER (ORDER BY live_activities.created_at DESC) - 1 AS n
    FROM live_activities
    WHERE
        live_activities.user_uuid = ANY (%(user_uuids)s)
        -- This transaction began before the rows were generated. Some are live at its time and have expired since.
        AND live_activities.expires_at > clock_timestamp()
    ORDER BY live_activities.created_at DESC
    LIMIT %(count)s / %(users)s + 1
)
INSERT INTO {table} (activity_uuid, user_uuid, author_uuid, created_at)
SELECT newest.uuid, numbered.uuid, newest.user_uuid, now() - number * interval '10 ms'
FROM generate_series(0, %(count)s - 1) AS number
JOIN numbered ON numbered.n = number %% %(users)s
JOIN newest ON newest.n = number / %(users)s
"""


class Activity(NamedTuple):
    """A row of the table `activities`. The fields are columns."""

    uuid: UUID
    user_uuid: UUID
    message: str
    reply_to_activity_uuid: UUID | None
    reply_to_user_uuid: UUID | None
    mentions: list[UUID]
    expires_at: datetime
    created_at: datetime
    tags: list[str]
    search_text: str = ""


class Size(NamedTuple):
    """The numbers of generated rows."""

    users: int
    activities: int
    likes: int = 0
    reposts: int = 0
    follows: int = 0


def fake_data(
    database: Database, size: Size, *, change: Callable[[Iterator[Activity]], Iterator[Activity]] = iter
) -> None:
    """Add rows of the given size, and conversations. Half of the activities have expired.

    `change` may change the activities before they are written.
    Raises `CommandError` when the database holds such data already.
    """
    rng = random.Random(4567)
    user_uuids = [UUID(int=rng.getrandbits(128), version=4) for _ in range(size.users)]
    with database.connect() as connection, connection.transaction():
        if connection.execute("SELECT FROM users WHERE uuid = %s", [user_uuids[0]]).rowcount:
            raise CommandError("the database has generated data already: bin/db-setup recreates the database")
        copy_rows(
            connection,
            "users",
            ("uuid", "display_name", "handle", "cognito_user_id"),
            user_rows(user_uuids),
            size.users,
        )
        rows = change(activity_rows(rng, user_uuids, size.activities))
        copy_rows(connection, "activities", Activity._fields, rows, size.activities)
        for statement in (CONVERSATIONS, MESSAGES):
            connection.execute(statement.encode(), {"user_uuids": user_uuids[:CONVERSATION_USERS]})
        for table, count in (("likes", size.likes), ("reposts", size.reposts)):
            insert = SQL(REACTIONS).format(table=Identifier(table))
            connection.execute(insert, {"user_uuids": user_uuids, "users": size.users, "count": count})
        if size.follows:
            with foreign_keys_checked_at_once(connection, "follows"):
                columns = ("follower_uuid", "followed_uuid")
                copy_rows(connection, "follows", columns, follow_rows(user_uuids, size.follows), size.follows)
    with database.connect() as connection:
        # Before this the planner has no statistics of these rows, and each index scan visits the table too.
        connection.execute(
            "VACUUM (ANALYZE) users, activities, mentionings, taggings, likes, reposts, follows, follow_counts,"
            " message_groups, messages, last_messages"
        )


@contextmanager
def foreign_keys_checked_at_once(connection: Connection, table: str) -> Iterator[None]:
    """Check the rows that the block writes at its end. Checking row by row takes longer than writing the rows.

    Until the end of the transaction all access to `table`, and to the tables that it refers to, waits.
    """
    statement = (
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f'"
    )
    foreign_keys = connection.execute(statement, [table]).fetchall()
    alter = SQL("ALTER TABLE {} ").format(Identifier(table))
    for name, _ in foreign_keys:
        connection.execute(alter + SQL("DROP CONSTRAINT {}").format(Identifier(name)))
    yield
    for name, definition in foreign_keys:
        connection.execute(alter + SQL("ADD CONSTRAINT {} ").format(Identifier(name)) + SQL(definition))


def copy_rows(
    connection: Connection, table: str, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]], total: int
) -> None:
    """COPY `total` rows into `table`, with a progress bar on a terminal."""
    statement = SQL("COPY {} ({}) FROM STDIN").format(Identifier(table), SQL(", ").join(map(Identifier, columns)))
    with connection.cursor().copy(statement) as copy_stream:
        for row in tqdm(rows, total=total, unit=f" {table}", disable=None):
            copy_stream.write_row(row)


def user_rows(user_uuids: list[UUID]) -> Iterator[tuple[UUID, str, str, str]]:
    """Yield a row for each user: uuid, display name, handle, Cognito id."""
    for n, uuid in enumerate(user_uuids, start=1):
        yield uuid, f"Person {n}", f"person_{n}", str(uuid)


def most_follows(users: int) -> int:
    """Return the number of rows that `follow_rows` yields for so many users."""
    return users * min(users - 1, MAX_FOLLOWS)


def follow_rows(user_uuids: list[UUID], count: int) -> Iterator[tuple[UUID, UUID]]:
    """Yield `count` follows: follower and followed user.

    All users follow the first one, the first one follows the next 5,000, and then each follows the one before it, the
    second one before it, and so on. The rows come in the order of the primary key: indexes grow faster in order.
    """
    in_order, last = sorted(user_uuids), len(user_uuids) - 1
    # Each follower has a place left for the first user.
    distances = range(1, min(last, MAX_FOLLOWS))
    pairs = chain(
        ((n, 0) for n in range(1, last + 1)),
        ((0, n) for n in range(1, min(last, MAX_FOLLOWS) + 1)),
        ((n, (n - 1 - distance) % last + 1) for distance in distances for n in range(1, last + 1)),
    )
    for follower, followed in sorted(islice(pairs, count)):
        yield in_order[follower], in_order[followed]


def activity_rows(rng: random.Random, user_uuids: list[UUID], count: int) -> Iterator[Activity]:
    """Yield `count` activities of the last 30 days, oldest first. Every second one has expired; some are replies."""
    now = datetime.now(UTC)
    recent: list[Activity] = []
    for n in range(count):
        created_at = now - MONTH * (count - n) / (count + 1)
        candidate = rng.choice(recent) if recent and rng.random() < REPLIES else None
        parent = candidate if candidate and candidate.expires_at > created_at else None
        expiries = (created_at + (now - created_at) / 2, now + MONTH)
        activity = Activity(
            uuid=UUID(int=rng.getrandbits(128), version=4),
            user_uuid=rng.choice(user_uuids),
            message=" ".join(rng.choices(WORDS, k=rng.randint(3, 14))),
            reply_to_activity_uuid=parent and parent.uuid,
            reply_to_user_uuid=parent and parent.user_uuid,
            mentions=[],
            expires_at=parent.expires_at if parent else expiries[n % 2],
            created_at=created_at,
            tags=[],
        )
        if rng.random() < MENTIONS:
            mention = rng.randrange(len(user_uuids))
            activity = activity._replace(
                message=f"{activity.message} @person_{mention + 1}", mentions=[user_uuids[mention]]
            )
        number, rest = divmod(n, TAGGED)
        if rest == 0:
            tag = WORDS[number % (number % len(WORDS) + 1)]
            activity = activity._replace(message=f"{activity.message} #{tag}", tags=[tag])
        if parent is None:
            recent = [*recent[-RECENT:], activity]
        yield activity._replace(search_text=fold(activity.message))
