"""Delete what is over: activities whose time is up, and idempotency keys after a day. This frees their room.

The service does the same, with pauses.
"""

import time

from psycopg import Connection
from tqdm import tqdm

from lib.purge import Purged, purge_batch
from ops.command import argument_parser, run, selected_database

# Until the transaction that is at it has ended.
TURN_SECONDS = 0.01


def purge(connection: Connection) -> Purged:
    """Delete batch by batch, passing over rows that are in use. Returns how many rows of each."""
    activities = idempotency_keys = 0
    # disable=None: no bar where nobody watches.
    with tqdm(unit=" rows", disable=None) as bar:
        while True:
            batch = purge_batch(connection)
            if batch is None:
                time.sleep(TURN_SECONDS)
                continue
            activities += batch.activities
            idempotency_keys += batch.idempotency_keys
            bar.update(batch.activities + batch.idempotency_keys)
            if not batch.is_busy:
                return batch._replace(activities=activities, idempotency_keys=idempotency_keys)


def main() -> None:
    """Run the command."""
    args = argument_parser("bin/db-purge", __doc__).parse_args()
    with selected_database(args) as database, database.connect() as connection:
        purged = purge(connection)
        database.report(f"{purged.activities} activities and {purged.idempotency_keys} idempotency keys deleted")


if __name__ == "__main__":
    run(main)
