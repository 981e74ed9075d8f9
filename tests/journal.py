"""The tables of the project's journal and of its later versions, with rows as they may be in such a database.

The names, the types and the missing constraints are facts of the original project.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.sql import SQL

# The first version has neither `email` nor `bio`, and the number of an activity's parent.
FIRST, EMAIL, TEXT, LAST = "first", "email", "text", "last"
VERSIONS = (FIRST, EMAIL, TEXT, LAST)
USER_COLUMNS = {FIRST: "", EMAIL: ", email text NOT NULL", TEXT: ", email text NOT NULL, bio text"}
PARENT_TYPES = {FIRST: "integer", EMAIL: "integer", TEXT: "text", LAST: "uuid"}
USERS = """
    CREATE TABLE public.users (
        uuid uuid DEFAULT gen_random_uuid() PRIMARY KEY,
        display_name text,
        handle text,
        cognito_user_id text,
        created_at timestamp DEFAULT current_timestamp NOT NULL
"""
ACTIVITIES = """
    CREATE TABLE public.activities (
        uuid uuid DEFAULT gen_random_uuid() PRIMARY KEY,
        user_uuid uuid NOT NULL,
        message text NOT NULL,
        replies_count integer DEFAULT 0,
        reposts_count integer DEFAULT 0,
        likes_count integer DEFAULT 0,
        reply_to_activity_uuid {type},
        expires_at timestamp,
        created_at timestamp DEFAULT current_timestamp NOT NULL
    )
"""
# The later versions note the migrations that have run.
INFORMATION = """
    CREATE TABLE public.schema_information (id integer UNIQUE, last_successful_run text);
    INSERT INTO public.schema_information VALUES (1, '1681152861')
"""
SUBS = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(1, 10)]


class Row(NamedTuple):
    """A user of the journal's, with an end of the uuid that a test can name."""

    number: int
    handle: str | None
    display_name: str | None = "A name"
    cognito_user_id: str | None = "MOCK"
    created_at: str = "2023-03-12 02:30:00"
    bio: str | None = None

    @property
    def uuid(self) -> UUID:
        """Return the user's uuid."""
        return user_uuid(self.number)


class Post(NamedTuple):
    """An activity of the journal's, by a user of a number."""

    number: int
    user: int
    message: str
    reply_to: str | None = None
    expires_at: str | None = None
    created_at: str = "2023-03-26 02:30:00"
    counts: tuple[int | None, int | None, int | None] = (0, 0, 0)

    @property
    def uuid(self) -> UUID:
        """Return the activity's uuid."""
        return activity_uuid(self.number)


def user_uuid(number: int) -> UUID:
    """Return the uuid of a user."""
    return UUID(int=0xA0000000_0000_4000_8000_000000000000 + number)


def activity_uuid(number: int) -> UUID:
    """Return the uuid of an activity."""
    return UUID(int=0xB0000000_0000_4000_8000_000000000000 + number)


def create_tables(connection: Connection, version: str) -> None:
    """Create the tables of a version of the journal."""
    connection.execute(f"{USERS}{USER_COLUMNS.get(version, USER_COLUMNS[TEXT])})".encode())
    connection.execute(ACTIVITIES.format(type=PARENT_TYPES[version]).encode())
    if version in {TEXT, LAST}:
        connection.execute(INFORMATION.encode())


def insert(connection: Connection, version: str, users: list[Row], posts: list[Post]) -> None:
    """Insert rows into the tables of a version."""
    for user in users:
        row = {key: value for key, value in user._asdict().items() if key != "number"} | {"uuid": user.uuid}
        if version == FIRST:
            del row["bio"]
        elif version == EMAIL:
            row = row | {"email": f"{user.number}@example.com"}
            del row["bio"]
        else:
            row |= {"email": f"{user.number}@example.com"}
        columns = SQL(", ").join(map(SQL, row))
        values = SQL(", ").join(SQL("%s") for _ in row)
        connection.execute(SQL("INSERT INTO public.users ({}) VALUES ({})").format(columns, values), [*row.values()])
    statement = f"""
        INSERT INTO public.activities (uuid, user_uuid, message, reply_to_activity_uuid, expires_at, created_at,
            replies_count, reposts_count, likes_count)
        VALUES (%s, %s, %s, %s::text::{PARENT_TYPES[version]}, %s, %s, %s, %s, %s)
    """
    for post in posts:
        connection.execute(
            statement.encode(),
            [
                *(post.uuid, user_uuid(post.user), post.message, post.reply_to),
                *(post.expires_at, post.created_at, *post.counts),
            ],
        )


# Users whose values our schema refuses, beside some that it accepts.
AWKWARD_USERS = [
    Row(1, "andrewbrown", "Andrew Brown"),
    Row(2, "bayko", "Andrew Bayko"),
    # The person of a sub keeps the handle, although the stand-in is older.
    Row(3, "AndrewBrown", "A. Brown", SUBS[0], "2024-01-01 00:00:00"),
    Row(4, "BAYKO", created_at="2023-03-12 02:30:00.000001"),
    Row(5, "andrew brown"),
    Row(6, "@londo", "Londo\tMollari\u202e"),
    Row(7, "löndo"),
    Row(8, "名前", "  padded  "),
    Row(9, "h" * 100),
    Row(10, "", ""),
    Row(11, None, None, None),
    Row(12, "deleted_1", "\u200b"),
    Row(13, "Deleted", "n" * 51),
    Row(14, "h" * 30, "n" * 50, SUBS[1], bio="b" * 160),
    Row(15, "h" * 31, "É" * 50, SUBS[1], "2024-02-01", bio="b" * 161),
    Row(16, "vir", cognito_user_id="google_1234"),
    Row(17, "lennier", cognito_user_id=SUBS[2].upper().replace("0", "A")),
    Row(18, "zathras", cognito_user_id="", created_at="infinity"),
    Row(19, "bester\n", created_at="0044-03-15 00:00:00 BC"),
]
EMOJI = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
# Activities likewise. Version by version, `parent` writes the parent of a reply.
AWKWARD_POSTS = [
    Post(1, 3, "This was imported as seed data!", counts=(3, 2, 1)),
    Post(2, 1, f"Hello @bayko and @AndrewBrown {EMOJI} #Cruddur #Straße", counts=(None, None, None)),
    Post(3, 99, "The author has no row"),
    Post(4, 98, "Nor has this one", created_at="2020-01-01"),
    Post(5, 99, "And again", created_at="2019-01-01"),
    Post(6, 1, "x" * 280),
    Post(7, 1, "word " * 56 + "#end " + "y" * 3000),
    Post(8, 1, ""),
    Post(9, 1, " \t\n\u00a0"),
    Post(10, 1, " " * 2000 + "far" + " " * 2000 + "apart"),
    Post(11, 1, "ends before it begins", expires_at="2023-03-26 02:29:59"),
    Post(12, 1, "never ends", expires_at="infinity"),
    Post(13, 1, "has ended", expires_at="2023-04-01"),
    Post(14, 1, "long ago", created_at="-infinity", expires_at="-infinity"),
    Post(15, 1, "far away", created_at="10000-01-01", expires_at="20000-01-01"),
    Post(16, 2, "in the hour that a change of clocks leaves out", expires_at="2099-03-29 02:30:00"),
    Post(17, 2, "an @h mention of a renamed user: @londo @löndo @BAYKO"),
]


def awkward_posts(version: str) -> list[Post]:
    """Return the awkward activities, with replies that are awkward in the type of a version."""
    if PARENT_TYPES[version] == "integer":
        return [*AWKWARD_POSTS, Post(40, 2, "a reply to a number", "12"), Post(41, 2, "z" * 300, "0")]
    replies = [
        Post(20, 2, "a reply", parent(2)),
        Post(21, 1, "a reply to a reply " + "z" * 900, parent(20)),
        Post(22, 1, "a long reply " + "z" * 1100, parent(2), created_at="2023-01-01"),
        Post(23, 1, "to itself", parent(23)),
        Post(24, 1, "one of a circle", parent(25)),
        Post(25, 1, "another of a circle, and older", parent(26), created_at="2022-01-01"),
        Post(26, 1, "the third of a circle", parent(24)),
        Post(27, 1, "below a circle", parent(26)),
        Post(28, 1, "to none " + "z" * 400, parent(1000)),
        Post(29, 1, "after the end of its parent", parent(13), created_at="2023-05-01"),
        Post(30, 1, "outlives its parent", parent(16), "2099-12-31"),
        Post(31, 1, "ends first", parent(16), "2098-12-31"),
        Post(32, 1, "never ends, below a reply that ends", parent(31)),
        Post(33, 1, "has ended below a live activity", parent(2), "2023-04-01"),
        Post(34, 1, "to the continued", parent(7)),
    ]
    texts = [
        Post(35, 1, "to an upper case uuid", f" {parent(2).upper()} "),
        Post(36, 1, "to nonsense", "12"),
        Post(37, 1, "to an empty text", ""),
    ]
    return [*AWKWARD_POSTS, *replies, *(texts if version == TEXT else [])]


def parent(number: int) -> str:
    """Return the uuid of an activity as a text."""
    return str(activity_uuid(number))


@contextmanager
def journal_database(url: str, version: str) -> Iterator[Connection]:
    """Yield a connection to a database with the tables of a version and the awkward rows. Times are another zone's."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET timezone TO 'America/New_York'".encode())
        create_tables(connection, version)
        insert(connection, version, AWKWARD_USERS, awkward_posts(version))
        yield connection
