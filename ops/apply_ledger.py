"""Delete the users of a ledger, and all expired rows, from a restored database that no service uses yet.

bin/db-restore does the same by itself. This command is for a database that RDS has restored.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import scalar_row

from lib.command_errors import CommandError
from lib.ledger import Deletion
from lib.purge import Purged
from ops import deletion_ledger
from ops.command import argument_parser, run, selected_database
from ops.purge import describe, purge

# The rows of the ledger become rows of `deletions`, those of users of this database and others: a token of the user may
# be valid for longer. A row that is not confirmed belongs to a request that was interrupted by the backup: the ledger
# knows that it was confirmed later.
DELETE = """
WITH ledger AS (
    SELECT decode(line.sub_sha256, 'hex') AS sub_hash, line.requested_at, line.expires_at
    FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS line (sub_sha256, requested_at, expires_at)
),
known AS (
    SELECT users.uuid, users.cognito_user_id, sha256(convert_to(users.cognito_user_id, 'UTF8')) AS sub_hash FROM users
)
INSERT INTO deletions (
    sub_hash, user_uuid, cognito_user_id, outcome, requested_at, confirmed_at, finished_at, expires_at, in_ledger
)
SELECT
    ledger.sub_hash,
    known.uuid,
    known.cognito_user_id,
    CASE WHEN known.uuid IS NULL THEN 'deleted' ELSE 'requested' END,
    ledger.requested_at,
    CASE WHEN known.uuid IS NULL THEN ledger.requested_at END,
    CASE WHEN known.uuid IS NULL THEN ledger.requested_at END,
    ledger.expires_at,
    true
FROM ledger
LEFT JOIN known ON known.sub_hash = ledger.sub_hash
ON CONFLICT (sub_hash) DO NOTHING
"""
CONFIRM = """
SELECT confirm_deletion(deletions.sub_hash, line.outcome)
FROM deletions
JOIN unnest(%s::text[], %s::text[]) AS line (sub_sha256, outcome) ON deletions.sub_hash = decode(line.sub_sha256, 'hex')
WHERE deletions.confirmed_at IS NULL
"""
# A request for each other unconfirmed row was running during the backup, and the user pool refused it afterwards: else
# the ledger had a line. The purge would delete the user.
TAKE_BACK = "DELETE FROM deletions WHERE deletions.confirmed_at IS NULL"
# The purge waits for 70 s after the confirmation, for writes of the service. Here no service writes.
HURRY = """
UPDATE deletions SET confirmed_at = deletions.confirmed_at - interval '70 seconds'
WHERE deletions.finished_at IS NULL AND deletions.confirmed_at > clock_timestamp() - interval '70 seconds'
"""
UNFINISHED = "SELECT count(*) FROM deletions WHERE finished_at IS NULL AND confirmed_at IS NOT NULL"


class Applied(NamedTuple):
    """The numbers of deletions that were taken back and users that were deleted, and what the purge has deleted."""

    taken_back: int
    users: int
    purged: Purged

    def notes(self) -> list[str]:
        """Return a line about the deletions that were taken back, if there are any."""
        if not self.taken_back:
            return []
        return [f"{self.taken_back} unconfirmed deletions, which no ledger has, were taken back"]


def apply(connection: Connection, deletions: Collection[Deletion]) -> Applied:
    """Delete the users of the ledger, finish the database's own deletions, and purge. Raises `CommandError`."""
    hashes, requested_at, expires_at, outcomes = zip(*deletions, strict=True) if deletions else ([], [], [], [])
    with connection.transaction():
        connection.execute(DELETE, [list(hashes), list(requested_at), list(expires_at)])
        connection.execute(CONFIRM, [list(hashes), list(outcomes)])
        taken_back = connection.execute(TAKE_BACK).rowcount
    users = count_unfinished(connection)
    purged = purge_to_the_end(connection)
    unfinished = count_unfinished(connection)
    if unfinished:
        raise CommandError(f"{unfinished} deletions of users did not finish: end other sessions, and try again")
    return Applied(taken_back, users, purged)


def purge_to_the_end(connection: Connection) -> Purged:
    """Purge until nothing is left to do. The first purge may confirm further deletions."""
    total = Purged(0, 0, 0, 0, None)
    while True:
        connection.execute(HURRY)
        done = purge(connection)
        total = done._replace(
            activities=total.activities + done.activities,
            idempotency_keys=total.idempotency_keys + done.idempotency_keys,
            messages=total.messages + done.messages,
        )
        if not connection.execute(HURRY).rowcount:
            return total


def count_unfinished(connection: Connection) -> int:
    """Return the number of confirmed deletions that have not finished."""
    return connection.cursor(row_factory=scalar_row).execute(UNFINISHED).fetchone() or 0


def main() -> None:
    """Run the command."""
    parser = argument_parser("bin/db-apply-ledger", __doc__, destroys=True)
    parser.add_argument("file", metavar="FILE", type=Path, help="the file of DELETION_LEDGER, or one beside a backup")
    args = parser.parse_args()
    found = deletion_ledger.read(args.file)
    if found is None:
        raise CommandError(f"{args.file} does not exist")
    with selected_database(args) as database, database.connect() as connection:
        database.confirm("deletes the users of the ledger from", connection)
        applied = apply(connection, found.deletions.values())
        malformed = f", {found.malformed} malformed lines skipped" if found.malformed else ""
        deleted = f"{applied.users} users, {describe(applied.purged)} deleted"
        database.report(f"{len(found.deletions)} deletions{malformed}", *applied.notes(), deleted)


if __name__ == "__main__":
    run(main)
