"""The plan for a database of the project's journal: the new values of its rows, and their description."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection

from lib.checks import SCHEMA
from ops.journal_rows import NO_TEXT, STAND_IN, SUB, JournalUser, Member, NewUser, Threads, divide, new_users, threads
from ops.journal_tables import load
from services.validation import MAX_MESSAGE_CHARS, MAX_REPLY_CHARS

NEW_USERS = "new users, because activities name them and the table users has no such row"
# The columns of a user that may change, in the order of the description.
CHANGES = {
    "handle": "new handles, because the old one is missing, malformed, reserved or another user's",
    "display_name": "new display names, because the old one is missing, blank or too long, or has control characters",
    "bio": "shortened biographies",
    "cognito_user_id": "users who become stand-ins, because their cognito_user_id is no sub, or another user's",
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
