"""Delete the user with a handle, for a request by letter, and wait for the end of the deletion.

The user pool keeps the user: the command prints what to do there.
"""

import re
import time
from argparse import ArgumentParser
from hashlib import sha256

from psycopg import Connection

from lib.command_errors import CommandError, malformed
from lib.purge import purge_batch
from ops.command import Database, env_text, parse_after_prod, run, selected_database
from ops.deletions import MIN_PREFIX_DIGITS, pool_command

RETENTION_DAYS, RETENTION_RULE = "35", "a whole number from 1 to 3650"
# The pause after a batch that found no rows: the deletion waits for its last look.
PAUSE_SECONDS = 0.2
# The handles are compared as in db/sql/users/short.sql.
FIND = """
    SELECT users.cognito_user_id
    FROM users
    WHERE lower(users.handle COLLATE "C") = lower(%s COLLATE "C") AND users.cognito_user_id IS NOT NULL
"""
REQUEST = "SELECT request_deletion(%s, make_interval(days => %s::integer), gen_random_uuid())"
CONFIRM = "SELECT confirm_deletion(%s, 'unknown')"
IS_FINISHED = "SELECT finished_at IS NOT NULL FROM deletions WHERE sub_hash = %s"


def retention_days() -> str:
    """Return the setting BACKUP_RETENTION_DAYS. Raises `CommandError`."""
    days = env_text("BACKUP_RETENTION_DAYS", RETENTION_RULE, RETENTION_DAYS) or RETENTION_DAYS
    if not re.fullmatch("[0-9]{1,4}", days) or int(days) not in range(1, 3651):
        raise CommandError(
            malformed("BACKUP_RETENTION_DAYS", "it is no such number of days", RETENTION_RULE, RETENTION_DAYS)
        )
    return days


def find(connection: Connection, handle: str) -> str:
    """Return the `sub` of the user with this handle. Raises `CommandError`."""
    # A handle is ASCII, and an argument may hold bytes that are not valid text.
    ascii_handle = handle.encode("ascii", "replace").decode()
    row = connection.execute(FIND, [ascii_handle]).fetchone()
    if row is None:
        raise CommandError(f"no user has the handle {handle}: bin/db-deletions lists the deletions that have not ended")
    return str(row[0])


def delete(connection: Connection, sub: str, retention_days: str) -> bytes:
    """Delete the user `sub`. Return the hash after the end of the deletion."""
    sub_hash = sha256(sub.encode()).digest()
    # Two transactions, as in the service: a creation of the user that waits for the second one sees the first.
    connection.execute(REQUEST, [sub, retention_days])
    connection.execute(CONFIRM, [sub_hash])
    while connection.execute(IS_FINISHED, [sub_hash]).fetchone() == (False,):
        batch = purge_batch(connection)
        if batch is None or not batch.is_busy:
            time.sleep(PAUSE_SECONDS)
    return sub_hash


def report(database: Database, handle: str, sub: str, sub_hash: bytes) -> None:
    """Print the result, and what is left to do."""
    prefix = sub_hash.hex()[:MIN_PREFIX_DIGITS]
    database.report(f"user {handle} deleted; the user pool still has the user. Run these two commands:")
    print(f"    {pool_command(sub)}")
    print(f"    bin/db-deletions{' prod' if database.setting.startswith('PROD') else ''} close {prefix}")


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(
        prog="bin/db-delete-user", usage="%(prog)s [-h] [prod] HANDLE [--confirm NAME]", description=__doc__
    )
    parser.add_argument("handle", metavar="HANDLE", help="the user's handle, such as andrewbrown")
    parser.add_argument("--confirm", metavar="NAME", help="the database's name, instead of typing it when asked")
    args = parse_after_prod(parser)
    with selected_database(args) as database, database.connect() as connection:
        sub = find(connection, args.handle)
        database.confirm(f"deletes the user {args.handle} in", connection)
        sub_hash = delete(connection, sub, retention_days())
        report(database, args.handle, sub, sub_hash)


if __name__ == "__main__":
    run(main)
