"""Remove the activities whose time is up. Readers have not seen them since; this frees their room."""

from psycopg import Connection
from psycopg.errors import DeadlockDetected
from tqdm import tqdm

from ops.command import ROOT, Database, arguments, chosen, run

BATCH = 1000
# A reply ends when what it answers ends, so these are nearly all that get removed by themselves.
EXPIRED = "SELECT count(*) FROM activities WHERE expires_at <= now() AND reply_to_activity_uuid IS NULL"


def purge(database: Database) -> int:
    """Remove them in batches, passing over rows that are in use. Returns how many, replies that went along left out."""
    total = 0
    with database.connect() as connection:
        (expired,) = connection.execute(EXPIRED).fetchone() or (0,)
        # disable=None: no bar where nobody watches.
        with tqdm(total=expired, unit=" activities", disable=None) as bar:
            while removed := remove_batch(connection):
                bar.update(removed)
                total += removed
    return total


def remove_batch(connection: Connection) -> int:
    """Remove one batch, in one transaction. Returns how many activities, without the replies that went along."""
    statement = (ROOT / "db" / "purge.sql").read_bytes()
    while True:
        try:
            return connection.execute(statement, {"batch": BATCH}).rowcount
        except DeadlockDetected:
            # Somebody deletes an activity whose replies are in the batch: theirs goes first.
            continue


def main() -> None:
    """The command."""
    with chosen(arguments(__doc__).parse_args()) as database:
        print(f"{purge(database)} activities removed, and their replies")


if __name__ == "__main__":
    run(main)
