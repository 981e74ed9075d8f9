"""Made-up people and activities by the hundred thousand, by COPY, and their conversations: the same ones each time."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.sql import SQL, Identifier
from tqdm import tqdm

from lib.command_errors import CommandError
from lib.text import fold
from ops.command import Database

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
# A reply answers one of this many newest activities.
RECENT = 50
# Everybody speaks with the first of them and with the next, so that somebody has very many
# conversations. One of those is long.
CONVERSATIONS = """
WITH numbered AS (
    SELECT users.uuid, row_number() OVER (ORDER BY users.uuid) AS n FROM users WHERE users.uuid = ANY (%(people)s)
),
pairs AS (
    SELECT DISTINCT LEAST(one.uuid, other.uuid) AS lesser, GREATEST(one.uuid, other.uuid) AS greater
    FROM numbered AS one JOIN numbered AS other ON other.n > 1 AND one.n IN (1, other.n - 1)
)
INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid, last_message_at)
SELECT message_group_uuid(lesser, greater), lesser, greater, now() - interval '30 days' FROM pairs
"""
MESSAGES = """
WITH numbered AS (
    SELECT message_groups.*, row_number() OVER (ORDER BY message_groups.lesser_user_uuid, message_groups.uuid) AS n
    FROM message_groups
    WHERE message_groups.lesser_user_uuid = ANY (%(people)s)
)
INSERT INTO messages (message_group_uuid, user_uuid, message, created_at)
SELECT numbered.uuid, numbered.lesser_user_uuid, 'message ' || said, now() - said * interval '1 minute'
FROM numbered, generate_series(1, CASE numbered.n WHEN 1 THEN 1000 ELSE 3 END) AS said
"""


class Activity(NamedTuple):
    """A row of `activities`; its fields are columns."""

    uuid: UUID
    user_uuid: UUID
    message: str
    reply_to_activity_uuid: UUID | None
    reply_to_user_uuid: UUID | None
    mentions: list[UUID]
    expires_at: datetime
    created_at: datetime
    search_text: str = ""


def fake_data(database: Database, *, users: int, activities: int) -> None:
    """Add `users` people, `activities` activities of theirs, half of them expired, and conversations.

    Raises `CommandError` when such data is there already.
    """
    dice = random.Random(4567)
    people = [UUID(int=dice.getrandbits(128), version=4) for _ in range(users)]
    with database.connect() as connection, connection.transaction():
        if connection.execute("SELECT FROM users WHERE uuid = %s", [people[0]]).rowcount:
            raise CommandError("the made-up data is there already: bin/db-setup makes the database anew")
        copy(connection, "users", ("uuid", "display_name", "handle", "cognito_user_id"), persons(people), users)
        copy(connection, "activities", Activity._fields, posts(dice, people, activities), activities)
        for statement in (CONVERSATIONS, MESSAGES):
            connection.execute(statement.encode(), {"people": people})
    with database.connect() as connection:
        # The planner knows nothing of these rows until then, and an index scan visits each.
        connection.execute("VACUUM (ANALYZE) users, activities, message_groups, messages")


def copy(
    connection: Connection, table: str, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]], total: int
) -> None:
    """COPY `rows` into `table`, with a progress bar on a terminal."""
    into = SQL("COPY {} ({}) FROM STDIN").format(Identifier(table), SQL(", ").join(map(Identifier, columns)))
    with connection.cursor().copy(into) as copying:
        for row in tqdm(rows, total=total, unit=f" {table}", disable=None):
            copying.write_row(row)


def persons(people: list[UUID]) -> Iterator[tuple[UUID, str, str, str]]:
    """A row of `users` for each of `people`."""
    for n, uuid in enumerate(people, start=1):
        yield uuid, f"Person {n}", f"person_{n}", str(uuid)


def posts(dice: random.Random, people: list[UUID], count: int) -> Iterator[Activity]:
    """Activities of the last 30 days, the oldest first: every second has expired, some are replies."""
    now = datetime.now(UTC)
    recent: list[Activity] = []
    for n in range(count):
        created_at = now - MONTH * (count - n) / (count + 1)
        candidate = dice.choice(recent) if recent and dice.random() < REPLIES else None
        parent = candidate if candidate and candidate.expires_at > created_at else None
        ends = (created_at + (now - created_at) / 2, now + MONTH)
        post = Activity(
            uuid=UUID(int=dice.getrandbits(128), version=4),
            user_uuid=dice.choice(people),
            message=" ".join(dice.choices(WORDS, k=dice.randint(3, 14))),
            reply_to_activity_uuid=parent and parent.uuid,
            reply_to_user_uuid=parent and parent.user_uuid,
            mentions=[],
            expires_at=parent.expires_at if parent else ends[n % 2],
            created_at=created_at,
        )
        if dice.random() < MENTIONS:
            mentioned = dice.randrange(len(people))
            post = post._replace(message=f"{post.message} @person_{mentioned + 1}", mentions=[people[mentioned]])
        if parent is None:
            recent = [*recent[-RECENT:], post]
        yield post._replace(search_text=fold(post.message))
