"""Take the database of the project's journal to our schema, in one transaction and with every row.

The journal's first tables and those of its later versions are recognised by their columns. Docs: docs/database.md.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.errors import DeadlockDetected, DependentObjectsStillExist, InsufficientPrivilege, LockNotAvailable
from psycopg.sql import SQL, Identifier

from lib.checks import SCHEMA, check_encoding
from lib.command_errors import CommandError
from ops.command import ROOT, Database
from ops.create_database import ROLE
from ops.journal_rows import (
    NO_TEXT,
    STAND_IN,
    SUB,
    JournalUser,
    Member,
    NewUser,
    Threads,
    divide,
    new_users,
    texts,
    threads,
)
from ops.schema_load import load_schema, wait_for_lock
from services.validation import MAX_MESSAGE_CHARS, MAX_REPLY_CHARS

SQL_FOLDER = ROOT / "db" / "journal"
SCHEMA_FILE = ROOT / "db" / "schema.sql"
# Of each version of a table the columns and their types. `!` is NOT NULL, and `*` the primary key.
USERS = {
    "uuid": "uuid!*",
    "display_name": "text",
    "handle": "text",
    "cognito_user_id": "text",
    "created_at": "timestamp without time zone!",
}
ACTIVITIES = {
    "uuid": "uuid!*",
    "user_uuid": "uuid!",
    "message": "text!",
    "replies_count": "integer",
    "reposts_count": "integer",
    "likes_count": "integer",
    "reply_to_activity_uuid": "integer",
    "expires_at": "timestamp without time zone",
    "created_at": "timestamp without time zone!",
}
VERSIONS = {
    "users": [USERS, USERS | {"email": "text"}, USERS | {"email": "text", "bio": "text"}],
    "activities": [ACTIVITIES | {"reply_to_activity_uuid": type_} for type_ in ("integer", "text", "uuid")],
}
# The definitions in db/schema.sql. Such a file skips a name that exists.
DEFINED = re.compile(
    r"^CREATE (?:OR REPLACE )?(?:UNIQUE )?(?:TABLE|VIEW|INDEX|FUNCTION) (?:IF NOT EXISTS )?(\w+)", re.MULTILINE
)
# The source of the journal's uuids.
EXTENSION = "uuid-ossp"
CALLERS = "SELECT FROM pg_proc WHERE pg_proc.probin IS NULL AND pg_proc.prosrc LIKE '%uuid_generate_%'"
OLD_TABLES = """
    SELECT
        to_regclass('public.alembic_version') IS NULL
        AND COALESCE(to_regclass('public.users'), to_regclass('public.activities')) IS NOT NULL
"""
# Rows that are in memory at once.
BATCH = 5_000
NOTHING = "nothing was changed"
NEW_USERS = "new users, because activities name them and the table users has no such row"
# The columns of a user that may change, in the order of the description.
CHANGES = {
    "handle": "new handles, because the old one is missing, malformed, reserved or another user's",
    "display_name": "new display names, because the old one is missing, blank or too long, or has control characters",
    "bio": "shortened biographies",
    "cognito_user_id": "users who become stand-ins, because their cognito_user_id is no sub, or another user's",
}
IN_USE = "another session uses the journal's tables: stop the journal's backend"
REMEDIES: dict[type[psycopg.Error], str] = {
    DependentObjectsStillExist: "a view or a foreign key depends on the journal's tables: drop it",
}


class Plan(NamedTuple):
    """The new values of the journal's rows that cannot stay as they are, and figures."""

    users: list[NewUser]
    old_users: dict[UUID, JournalUser]
    threads: Threads
    divided: dict[UUID, list[str]]
    activities: int
    likes: int
    reposts: int
    moved: list[tuple[UUID, str, str, str]]
    other_tables: list[str]


def take_over(database: Database, connection: Connection) -> list[str]:
    """Take the journal's tables to our schema, if the database has them. Returns a summary, empty without them.

    Raises `CommandError`, also for unknown tables of their names and for an unconfirmed plan. Nothing is changed then.
    """
    if not has_old_tables(connection):
        return []
    # A transaction that waits here would stop the build of an index, for which it waits itself.
    wait_for_lock(connection, "SELECT pg_try_advisory_lock(%s)")
    with failures_named(), connection.transaction():
        if not has_journal(connection):
            return []
        check_encoding(database.setting, connection)
        other_tables = check_names(connection)
        # Reads continue until the plan is confirmed.
        connection.execute("LOCK TABLE public.users, public.activities IN SHARE MODE")
        connection.execute(load("facts"))
        plan = make_plan(connection, other_tables)
        print("\n".join([f"database {database.name}: {headline(plan)}", *description(plan)]), flush=True)
        database.confirm("replaces the journal's tables in", connection)
        expired = carry_out(connection, plan)
    return [
        f"{len(plan.users):,} users and {plan.activities:,} activities taken over from the journal's tables",
        f"{expired:,} activities have expired, and the purge deletes them: bin/db-purge, or the service when it runs",
    ]


def load(name: str) -> bytes:
    """Return the statements of a file in db/journal."""
    return (SQL_FOLDER / f"{name}.sql").read_bytes()


@contextmanager
def failures_named() -> Iterator[None]:
    """Turn the failures of this block, which have changed nothing, into `CommandError`."""
    try:
        yield
    except (LockNotAvailable, DeadlockDetected) as error:
        raise CommandError(f"{NOTHING}: {IN_USE}, and run bin/db-migrate again") from error
    except psycopg.Error as error:
        if error.sqlstate is None:
            # The connection was lost.
            raise
        reason = error.diag.message_primary or str(error)
        remedy = REMEDIES.get(type(error))
        ending = f": {remedy}, and run bin/db-migrate again" if remedy else ""
        raise CommandError(f"{NOTHING}, because the database refused: {reason}{ending}") from error


def has_old_tables(connection: Connection) -> bool:
    """Return whether the database has no revision, and a table with the name of one of the journal's."""
    return connection.execute(OLD_TABLES).fetchone() == (True,)


def has_journal(connection: Connection) -> bool:
    """Return whether the database has the journal's tables.

    Raises `CommandError` when a table of their names is neither the journal's nor one of our schema.
    """
    if not has_old_tables(connection):
        return False
    found: dict[str, dict[str, str]] = {}
    for table, is_table, column, type_, is_required, is_key in connection.execute(load("tables")):
        marks = f"{'!' if is_required else ''}{'*' if is_key else ''}"
        found.setdefault(table, {})[column] = f"{type_}{marks}" if is_table else "a column of a view"
    differences = [line for table in VERSIONS for line in differences_of(table, found.get(table, {}))]
    if differences:
        raise CommandError(
            "\n".join(
                [
                    f"{NOTHING}: the database has tables of our names, which are neither ours nor the journal's:",
                    *differences,
                    "give them the columns of docs/database.md, or rename the tables, and run bin/db-migrate again",
                ]
            )
        )
    return True


def differences_of(table: str, found: dict[str, str]) -> list[str]:
    """Return a line for each column in which a table differs from the nearest of the journal's versions of it."""
    if not found:
        return [f"the table {table} is missing"]
    return min(([*compare(table, found, version)] for version in VERSIONS[table]), key=len)


def compare(table: str, found: dict[str, str], version: dict[str, str]) -> Iterator[str]:
    """Yield a line for each column in which a table differs from a version of it."""
    for column in sorted(found.keys() | version.keys()):
        if column not in version:
            yield f"{table}.{column} is unknown"
        elif column not in found:
            yield f"{table}.{column} is missing"
        elif found[column].rstrip("!*") != version[column].rstrip("!*"):
            yield f"{table}.{column} is {found[column].rstrip('!*')}, and not {version[column].rstrip('!*')}"
        elif "*" in version[column] and "*" not in found[column]:
            yield f"{table}.{column} is no primary key"
        elif "!" in version[column] and "!" not in found[column]:
            yield f"{table}.{column} may be null"


def check_names(connection: Connection) -> list[str]:
    """Return the other tables of the database, which stay. Raises `CommandError` when something has a name of ours."""
    ours = set(DEFINED.findall(SCHEMA_FILE.read_text()))
    others = connection.execute(load("names")).fetchall()
    used = sorted({name for name, _ in others if name in ours})
    if used:
        raise CommandError(
            f"{NOTHING}: beside the journal's tables our schema's names are in use: {', '.join(used)}: rename or drop "
            "those, and run bin/db-migrate again"
        )
    if connection.execute("SELECT to_regnamespace('journal')").fetchone() != (None,):
        raise CommandError(f"{NOTHING}: the database has a schema journal: rename it, and run bin/db-migrate again")
    if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE]).rowcount:
        raise CommandError(f"{NOTHING}: the server has no role {ROLE}: run bin/db-create, and bin/db-migrate again")
    return [name for name, is_table in others if is_table]


def make_plan(connection: Connection, other_tables: list[str]) -> Plan:
    """Return the new values of the rows, and figures. Only reads."""
    old = [JournalUser(*row) for row in connection.execute(load("users"), {"sub": SUB})]
    thread = threads(Member(*row) for row in connection.execute(load("threads")))
    awkward = connection.execute(load("awkward"), {"limit": MAX_MESSAGE_CHARS}).fetchall()
    limits = {uuid: MAX_REPLY_CHARS if uuid in thread.parents else MAX_MESSAGE_CHARS for uuid, _ in awkward}
    parts = {uuid: divide(message, limits[uuid]) for uuid, message in awkward}
    divided = {uuid: parts[uuid] for uuid, message in awkward if parts[uuid] != [message]}
    ((activities, likes, reposts),) = connection.execute(load("counts")).fetchall()
    users = {user.uuid: user for user in old}
    moved = connection.execute(load("moved")).fetchall()
    return Plan(new_users(old), users, thread, divided, activities, likes, reposts, moved, other_tables)


def headline(plan: Plan) -> str:
    """Return a line with the rows of each table."""
    rows = sum(not user.is_missing for user in plan.old_users.values())
    return (
        f"the journal's {rows:,} users and {plan.activities:,} activities become rows of schema {SCHEMA}, "
        "in one transaction"
    )


def description(plan: Plan) -> Iterator[str]:
    """Yield lines about the rows that cannot stay as they are. Texts of users appear in ASCII, with escapes."""
    yield from describe_users(plan)
    yield from describe_activities(plan)
    if plan.other_tables:
        yield f"  tables that stay as they are: {', '.join(plan.other_tables)}"


def describe_users(plan: Plan) -> Iterator[str]:
    """Yield lines about users."""
    new = [user for user in plan.users if plan.old_users[user.uuid].is_missing]
    yield from listed(NEW_USERS, (f"{user.uuid}  {user.handle}" for user in new))
    for column, title in CHANGES.items():
        changes = [
            (user.uuid, getattr(plan.old_users[user.uuid], column), getattr(user, column))
            for user in plan.users
            if column in user.changes and not plan.old_users[user.uuid].is_missing
        ]
        # The journal's own stand-in says nothing.
        told = [change for change in changes if column != "cognito_user_id" or change[1] not in {None, "MOCK"}]
        yield from listed(title, (f"{uuid}  {json.dumps(old)} -> {json.dumps(now)}" for uuid, old, now in told))
    stand_ins = sum(user.cognito_user_id.startswith(STAND_IN) for user in plan.users)
    if stand_ins:
        yield f"  stand-ins, until bin/db-claim-user gives them the sub of a user of the user pool: {stand_ins:,}"


def describe_activities(plan: Plan) -> Iterator[str]:
    """Yield lines about activities."""
    replies = plan.threads
    blank = [uuid for uuid, parts in plan.divided.items() if parts == [NO_TEXT]]
    continued = {uuid: parts for uuid, parts in plan.divided.items() if parts != [NO_TEXT]}
    yield from listed("blank messages, which become U+FFFD", map(str, blank))
    yield from listed(
        "long messages, which continue in replies of the same user",
        (f"{uuid}  {sum(map(len, parts)):,} characters in {len(parts)} parts" for uuid, parts in continued.items()),
    )
    if replies.parents:
        yield f"  replies that are connected with their parent: {len(replies.parents):,}"
    earlier = sum(uuid != last for uuid, last in replies.ends_with.items())
    if earlier:
        yield f"  replies that end together with an activity above them: {earlier:,}"
    yield from listed(
        "replies to no activity of the table, which become activities of their own", map(str, replies.unknown)
    )
    yield from listed("replies in a circle, which become activities of their own", map(str, replies.circular))
    yield from listed(
        "times outside of the years 1 to 9999, and ends before the creation",
        (f"{uuid}  {name}  {old} -> {new}" for uuid, name, old, new in plan.moved),
    )
    if plan.likes or plan.reposts:
        yield f"  counted likes and reposts, which have no rows, and begin at 0: {plan.likes:,} and {plan.reposts:,}"


def listed(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield the title with the number of lines, and the lines, if there are any."""
    lines = list(lines)
    if lines:
        yield f"  {title}: {len(lines):,}"
        yield from (f"    {line}" for line in lines)


def carry_out(connection: Connection, plan: Plan) -> int:
    """Move the rows into our schema, compare them, and drop the journal's tables. Returns the number of expired rows.

    Raises `CommandError` when a row differs.
    """
    connection.execute(load("staging"))
    load_schema(connection)
    copy_rows(connection, "new_users", plan.users)
    replies = plan.threads
    copy_rows(connection, "replies", ((uuid, up, replies.ends_with[uuid]) for uuid, up in replies.parents.items()))
    copy_texts(connection)
    connection.execute(load("insert"))
    if connection.execute(load("check")).fetchone() != (True, True, True, True):
        raise CommandError(f"{NOTHING}: the new rows differ from the journal's, which is a fault of bin/db-migrate")
    connection.execute(load("drop"))
    drop_extension(connection)
    return connection.execute("SELECT FROM public.activities WHERE expires_at <= now()").rowcount


def copy_rows(connection: Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write rows into a table of the schema journal."""
    statement = SQL("COPY journal.{} FROM STDIN").format(Identifier(table))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def copy_texts(connection: Connection) -> None:
    """Write each message with the search text, the mentions and the hashtags that the service derives from it."""
    with connection.cursor("texts") as cursor:
        cursor.execute(load("texts"))
        while batch := cursor.fetchmany(BATCH):
            derived = (texts(uuid, message, is_reply=is_reply) for uuid, message, is_reply in batch)
            copy_rows(connection, "texts", chain.from_iterable(derived))


def drop_extension(connection: Connection) -> None:
    """Drop the extension that made the journal's uuids, if no other table or function needs it.

    A server without the extension, such as the embedded Postgres, could not restore a backup.
    """
    # Postgres does not know what a function's text calls.
    if connection.execute(CALLERS).rowcount:
        return
    with suppress(DependentObjectsStillExist, InsufficientPrivilege), connection.transaction():
        connection.execute(SQL("DROP EXTENSION IF EXISTS {}").format(Identifier(EXTENSION)))
