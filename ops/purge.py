"""Remove what is over: activities whose time is up, and idempotency keys after a day. This frees their room."""

from typing import NamedTuple

from psycopg import Connection
from psycopg.errors import DeadlockDetected
from tqdm import tqdm

from ops.command import ROOT, arguments, chosen, run

BATCH = 1000


class Kind(NamedTuple):
    """What is removed: the name of its table and of its file in db/purge, and a count of them."""

    name: str
    counting: str


ACTIVITIES = Kind(
    "activities",
    # A reply ends when what it answers ends, so these are nearly all that get removed by themselves.
    "SELECT count(*) FROM activities WHERE expires_at <= now() AND reply_to_activity_uuid IS NULL",
)
KEYS = Kind(
    "idempotency_keys",
    "SELECT count(*) FROM idempotency_keys WHERE created_at <= now() - interval '25 hours'",
)


def purge(connection: Connection, kind: Kind) -> int:
    """Remove them in batches, passing over rows that are in use. Returns how many, replies that went along left out."""
    (over,) = connection.execute(kind.counting.encode()).fetchone() or (0,)
    total = 0
    # disable=None: no bar where nobody watches.
    with tqdm(total=over, unit=f" {kind.name}", disable=None) as bar:
        while removed := remove_batch(connection, kind):
            bar.update(removed)
            total += removed
    return total


def remove_batch(connection: Connection, kind: Kind) -> int:
    """Remove one batch, in one transaction. Returns how many, without the replies that went along."""
    statement = (ROOT / "db" / "purge" / f"{kind.name}.sql").read_bytes()
    while True:
        try:
            return connection.execute(statement, {"batch": BATCH}).rowcount
        except DeadlockDetected:
            # Somebody deletes an activity whose replies are in the batch: theirs goes first.
            continue


def main() -> None:
    """The command."""
    with chosen(arguments(__doc__).parse_args()) as database, database.connect() as connection:
        print(f"{purge(connection, ACTIVITIES)} activities removed, and their replies")
        print(f"{purge(connection, KEYS)} idempotency keys removed")


if __name__ == "__main__":
    run(main)
