"""Delete expired activities and messages, and idempotency keys that are older than a day, to free their disk space.

The service purges too, with pauses between batches.
"""

import time

from psycopg import Connection
from tqdm import tqdm

from lib.purge import Purged, purge_batch
from ops.command import argument_parser, run, selected_database

# The pause before the next attempt, while another transaction purges.
RETRY_SECONDS = 0.01


def purge(connection: Connection) -> Purged:
    """Delete in batches, and skip locked rows. Returns the numbers of deleted rows."""
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
                return batch._replace(activities=activities, idempotency_keys=idempotency_keys, messages=messages)


def main() -> None:
    """Run the command."""
    args = argument_parser("bin/db-purge", __doc__).parse_args()
    with selected_database(args) as database, database.connect() as connection:
        purged = purge(connection)
        database.report(
            f"{purged.activities} activities, {purged.messages} messages"
            f" and {purged.idempotency_keys} idempotency keys deleted"
        )


if __name__ == "__main__":
    run(main)
