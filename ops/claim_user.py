"""Give a stand-in, with its activities, to the user of the user pool with a sub.

A stand-in is a user of the journal's database without a sub. A user who has signed in before has a row already: that
row goes, if nothing else belongs to it, and its e-mail address stays.
"""

import re
from argparse import ArgumentParser
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from lib.command_errors import CommandError
from ops.command import Database, parse_after_prod, run, selected_database
from ops.journal_rows import STAND_IN, SUB

# The handles are compared as in db/sql/users/short.sql.
FIND_HANDLE = """
    SELECT users.uuid, users.handle, users.cognito_user_id, users.email
    FROM users
    WHERE lower(users.handle COLLATE "C") = lower(%s COLLATE "C") AND users.cognito_user_id IS NOT NULL
    FOR UPDATE
"""
FIND_SUB = """
    SELECT users.uuid, users.handle, users.cognito_user_id, users.email
    FROM users
    WHERE users.cognito_user_id = %s
    FOR UPDATE
"""
IS_DELETED = "SELECT FROM deletions WHERE sub_hash = %s"
REFERENCES = """
    SELECT pg_class.relname, pg_attribute.attname
    FROM pg_constraint
    JOIN pg_class ON pg_class.oid = pg_constraint.conrelid
    JOIN pg_attribute
        ON pg_attribute.attrelid = pg_constraint.conrelid AND pg_attribute.attnum = pg_constraint.conkey[1]
    WHERE pg_constraint.contype = 'f' AND pg_constraint.confrelid = 'users'::regclass
    ORDER BY pg_class.relname, pg_attribute.attname
"""
# Rows of these tables say nothing without others: what a user has read, and how many follows there are.
FORGOTTEN = {"read_markers", "follow_counts"}
CLAIM = "UPDATE users SET cognito_user_id = %s, email = COALESCE(%s, email) WHERE uuid = %s"


class User(NamedTuple):
    """A row of `users`."""

    uuid: UUID
    handle: str
    cognito_user_id: str
    email: str | None


def check_sub(sub: str) -> str:
    """Return the sub as Cognito writes it. Raises `CommandError` for a malformed one."""
    if not re.fullmatch(SUB, sub.lower()):
        raise CommandError(
            "SUB is malformed: a sub is the user's id in the user pool, such as "
            "5eed0000-0000-4000-8000-000000000001: aws cognito-idp admin-get-user prints it"
        )
    return sub.lower()


def check_not_deleted(connection: Connection, sub: str) -> None:
    """Raise `CommandError` when the user with this sub was deleted: the service refuses its requests."""
    if connection.execute(IS_DELETED, [sha256(sub.encode()).digest()]).rowcount:
        raise CommandError("the user with this sub was deleted, and the sub stays unusable: sign up another user")


def find_stand_in(connection: Connection, handle: str) -> User:
    """Lock and return the stand-in with this handle. Raises `CommandError`."""
    # A handle is ASCII, and an argument may hold bytes that are not valid text.
    ascii_handle = handle.encode("ascii", "replace").decode()
    row = connection.execute(FIND_HANDLE, [ascii_handle]).fetchone()
    if row is None:
        raise CommandError(f"no user has the handle {ascii_handle}: bin/db-migrate printed the new handles")
    user = User(*row)
    if not user.cognito_user_id.startswith(STAND_IN):
        raise CommandError(f"{user.handle} is no stand-in: the user has a sub already, and keeps it")
    return user


def find_former(connection: Connection, sub: str) -> User | None:
    """Lock and return the row that this sub has already, which is to go. Raises `CommandError` when it cannot go."""
    row = connection.execute(FIND_SUB, [sub]).fetchone()
    if row is None:
        return None
    user = User(*row)
    tables = belongings(connection, user)
    if tables:
        raise CommandError(
            f"the sub belongs to {user.handle}, which has rows in {', '.join(tables)}: sign up another user in the "
            "user pool for the stand-in, or end those rows in the page and run bin/db-purge first"
        )
    return user


def belongings(connection: Connection, user: User) -> list[str]:
    """Return the tables with rows of a user."""
    found = set()
    for table, column in connection.execute(REFERENCES).fetchall():
        statement = SQL("SELECT FROM {} WHERE {} = %s LIMIT 1").format(Identifier(table), Identifier(column))
        if table not in FORGOTTEN and connection.execute(statement, [user.uuid]).rowcount:
            found.add(table)
    return sorted(found)


def claim(database: Database, connection: Connection, handle: str, sub: str) -> None:
    """Give the stand-in to the sub, in one transaction, and report that. Raises `CommandError`."""
    with connection.transaction():
        check_not_deleted(connection, sub)
        stand_in = find_stand_in(connection, handle)
        former = find_former(connection, sub)
        removal = f"removes the user {former.handle} of this sub, and " if former else ""
        database.confirm(f"{removal}gives the user {stand_in.handle} to the sub {sub} in", connection)
        if former:
            connection.execute("DELETE FROM users WHERE uuid = %s", [former.uuid])
        connection.execute(CLAIM, [sub, former and former.email, stand_in.uuid])
    gone = f"; the user {former.handle}, without rows, is removed" if former else ""
    database.report(f"user {stand_in.handle} belongs to {sub}{gone}")


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(
        prog="bin/db-claim-user", usage="%(prog)s [-h] [prod] HANDLE SUB [--confirm NAME]", description=__doc__
    )
    parser.add_argument("handle", metavar="HANDLE", help="the stand-in's handle, such as andrewbrown")
    parser.add_argument("sub", metavar="SUB", help="the user's id in the user pool, a UUID")
    parser.add_argument("--confirm", metavar="NAME", help="the database's name, instead of typing it when asked")
    args = parse_after_prod(parser)
    with selected_database(args) as database, database.connect() as connection:
        claim(database, connection, args.handle, check_sub(args.sub))


if __name__ == "__main__":
    run(main)
