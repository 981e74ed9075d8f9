"""Delete expired activities and messages, and idempotency keys that are older than a day, to free their disk space.

The service purges too, with pauses between batches.
"""

import time
from pathlib import Path

from psycopg import Connection
from tqdm import tqdm

from lib.command_errors import CommandError
from lib.ledger import NotALedgerError, reason
from lib.purge import Purged, purge_batch, record_deletions
from ops.command import argument_parser, run, selected_database
from ops.deletion_ledger import ledger_setting

# The pause before the next attempt, while another transaction purges.
RETRY_SECONDS = 0.01


def purge(connection: Connection, ledger: Path | None = None) -> Purged:
    """Delete in batches, and skip locked rows. Returns the numbers of deleted rows.

    Deletions of users are written to the ledger, if there is one. Raises `OSError` and `NotALedgerError` for it.
    """
    activities = idempotency_keys = messages = 0
    # disable=None: a progress bar on terminals only.
    with tqdm(unit=" rows", disable=None) as bar:
        while True:
            batch = purge_batch(connection)
            if batch is None:
                time.sleep(RETRY_SECONDS)
                continue
            activities += batch.activities
            idempotency_keys += batch.idempotency_keys
            messages += batch.messages
            bar.update(batch.activities + batch.idempotency_keys + batch.messages)
            if not batch.is_busy:
                while ledger is not None and record_deletions(connection, ledger):
                    pass
                return batch._replace(activities=activities, idempotency_keys=idempotency_keys, messages=messages)


def describe(purged: Purged) -> str:
    """Return the numbers of deleted rows in words."""
    return f"{purged.activities} activities, {purged.messages} messages and {purged.idempotency_keys} idempotency keys"


def main() -> None:
    """Run the command."""
    args = argument_parser("bin/db-purge", __doc__).parse_args()
    path = ledger_setting()
    with selected_database(args) as database, database.connect() as connection:
        try:
            purged = purge(connection, path)
        except (OSError, NotALedgerError) as error:
            raise CommandError(f"{path} can't be written ({reason(error)}): {database.name} is purged") from error
        database.report(f"{describe(purged)} deleted")


if __name__ == "__main__":
    run(main)
