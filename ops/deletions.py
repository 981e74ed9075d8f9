"""List the deletions of users that have not ended, or whose outcome in the user pool is unknown; or close one.

Close an unknown one after the user was deleted from the user pool.
"""

import re
import shlex
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta

from psycopg import Connection

from lib.command_errors import CommandError
from ops.command import Database, parse_after_prod, run, selected_database

MOST = 100
MIN_PREFIX_DIGITS = 8
OPEN = """
    SELECT
        encode(deletions.sub_hash, 'hex'),
        now() - deletions.requested_at,
        deletions.outcome,
        CASE
            WHEN deletions.finished_at IS NOT NULL THEN 'ended'
            WHEN deletions.confirmed_at IS NULL THEN 'waits for the user pool'
            WHEN EXISTS (SELECT FROM activities WHERE activities.user_uuid = deletions.user_uuid)
                THEN 'activities remain'
            ELSE 'rows remain'
        END,
        deletions.cognito_user_id,
        count(*) OVER ()
    FROM deletions
    WHERE deletions.finished_at IS NULL OR deletions.outcome = 'unknown'
    ORDER BY deletions.requested_at, deletions.sub_hash
    LIMIT %s
"""
FIND = """
    SELECT deletions.sub_hash, deletions.outcome
    FROM deletions
    WHERE starts_with(encode(deletions.sub_hash, 'hex'), %s)
"""
# The hash refuses access tokens of the user, which are valid for a day at most. The ledger gets a new line.
CLOSE = """
    UPDATE deletions SET
        outcome = 'deleted',
        cognito_user_id = NULL,
        expires_at = GREATEST(deletions.expires_at, now() + interval '1 day'),
        in_ledger = false
    WHERE deletions.sub_hash = %s AND deletions.outcome = 'unknown'
"""
LINE = "{:64}  {:>14}  {:9}  {}"


def pool_command(sub: str) -> str:
    """Return the command of the AWS CLI that deletes a user from the pool."""
    return f'aws cognito-idp admin-delete-user --user-pool-id "$AWS_COGNITO_USER_POOL_ID" --username {shlex.quote(sub)}'


def print_open(database: Database, connection: Connection) -> None:
    """Print a line for each of the oldest open deletions, with the command for an unknown one."""
    deletions = connection.execute(OPEN, [MOST]).fetchall()
    if not deletions:
        database.report("no open deletions")
        return
    print(LINE.format("hash", "age", "outcome", "state"))
    for sub_hash, age, outcome, state, sub, _ in deletions:
        print(LINE.format(sub_hash, show_age(age), outcome, state))
        if outcome == "unknown":
            print(f"    {pool_command(sub)}")
    more = deletions[0][-1] - len(deletions)
    if more:
        print(f"and {more} more")


def show_age(age: timedelta) -> str:
    """Return a time span in days, hours, minutes and seconds."""
    seconds = age.seconds
    return f"{age.days} d {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def close(database: Database, connection: Connection, prefix: str) -> None:
    """Close the unknown deletion whose hash begins with `prefix`. Raises `CommandError` for none, and for several."""
    found = connection.execute(FIND, [prefix]).fetchall()
    if len(found) != 1:
        number = "no deletion has" if not found else f"{len(found)} deletions have"
        raise CommandError(f"{number} a hash that begins with {prefix}: bin/db-deletions lists the open ones")
    ((sub_hash, outcome),) = found
    if outcome == "requested":
        raise CommandError(f"deletion {prefix} waits for the user pool: repeat this in a minute")
    if connection.execute(CLOSE, [sub_hash]).rowcount:
        database.report(f"deletion {prefix} closed")
    else:
        database.report(f"deletion {prefix} was closed already")


def hash_prefix(text: str) -> str:
    """Return a hash or its beginning in lower case. Raises `ArgumentTypeError`."""
    if not re.fullmatch(f"[0-9a-fA-F]{{{MIN_PREFIX_DIGITS},64}}", text):
        raise ArgumentTypeError(f"a hash has {MIN_PREFIX_DIGITS} to 64 hex digits here")
    return text.lower()


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="bin/db-deletions", usage="%(prog)s [-h] [prod] [close HASH]", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["close"], help="without a command: list the open deletions")
    parser.add_argument("hash", nargs="?", metavar="HASH", type=hash_prefix, help="the hash, or its first digits")
    args = parse_after_prod(parser)
    if args.command and not args.hash:
        parser.error("close needs the hash of a deletion")
    with selected_database(args) as database, database.connect() as connection:
        if args.command == "close":
            close(database, connection, args.hash)
        else:
            print_open(database, connection)


if __name__ == "__main__":
    run(main)
