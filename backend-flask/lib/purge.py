"""The purge: a thread of each worker process has Postgres delete expired rows, batch by batch.

An advisory lock lets one transaction purge at a time, so threads of several processes and instances take turns. Each
thread has a connection of its own, beside the pool.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psycopg
from opentelemetry import metrics

from lib import ledger
from lib.ledger import EXAMPLE_LEDGER, LEDGER_RULE, Deletion, NotALedgerError, reason
from lib.pool import Connection
from lib.queries import load_sql

logger = logging.getLogger("cruddur")
meter = metrics.get_meter("cruddur")
purged_rows = meter.create_counter("app.purge.rows", "{row}")
oldest_age = meter.create_gauge("app.purge.oldest.age", "s")

# The advisory lock of a purging transaction. A session that holds the lock pauses the purge in its database.
LOCK = 4568
# Rows a transaction. After the role's statement_timeout has ended a batch, the next batches are smaller.
BATCH, SMALLEST_BATCH = 1000, 10
# The pause after an empty batch. The rest of a large thread waits for this long.
INTERVAL_SECONDS = 0.5
# A pause takes this many times as long as the batch before it: the database's time belongs to readers.
PAUSES = 3
# The pause after the database refused a batch or was away.
RETRY_SECONDS = 5.0
# When the oldest expired activity or message is older than this, or no batch has succeeded for so long, the purge does
# not keep up. A warning comes once in this time. aws/cloudformation/service.yaml knows its first words.
LATE_SECONDS = 3600.0


class Purged(NamedTuple):
    """The result of a batch: deleted rows, ended descendants, and the expiry of the oldest remaining row.

    `ended` also counts deleted reports and mutes, and the deleted reactions of an activity that remains.
    """

    activities: int
    ended: int
    idempotency_keys: int
    messages: int
    # Of activities and messages.
    oldest: datetime | None

    @property
    def is_busy(self) -> bool:
        """Return whether the batch did anything, so that there may be more to do."""
        return any((self.activities, self.ended, self.idempotency_keys, self.messages))


def purge_batch(connection: psycopg.Connection, batch: int = BATCH) -> Purged | None:
    """Delete one batch in a transaction. Return `None` while another transaction purges. Raises psycopg's errors."""
    row = connection.execute(load_sql("purge/batch").encode(), {"batch": batch}).fetchone()
    return Purged(*row) if row else None


def record_deletions(connection: psycopg.Connection, path: Path) -> int:
    """Write confirmed deletions to the ledger, and then mark them. Returns their number.

    After a failure between the two the ledger has the same line twice. Raises psycopg's errors, `OSError` and
    `NotALedgerError`.
    """
    rows = connection.execute(load_sql("deletions/unrecorded").encode(), {"limit": BATCH}).fetchall()
    if rows:
        ledger.append(path, [Deletion(*row) for row in rows])
        hashes = [sha256 for sha256, *_ in rows]
        connection.execute(load_sql("deletions/record").encode(), {"hashes": hashes})
    return len(rows)


def purge_forever(
    conninfo: Callable[[], str], ledger_path: Path | None = None, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Purge as long as the process runs. A failed batch is tried again, and logged once until a batch succeeds."""
    purge = Purge(ledger_path)
    while True:
        try:
            # Preparing would save little for a statement every half second, and some poolers lose prepared statements.
            with Connection.connect(conninfo(), autocommit=True, prepare_threshold=None) as connection:
                while True:
                    sleep(purge.run(connection))
        except Exception as error:  # noqa: BLE001 - an exception would end the thread: also one of a token for IAM
            purge.fail(error)
        sleep(RETRY_SECONDS)


class Purge:
    """The state of one purging thread: its batch size, its ledger, and the warnings that it has logged."""

    def __init__(self, ledger_path: Path | None = None) -> None:
        self.ledger_path = ledger_path
        self.is_ledger_failing = False
        self.batch = BATCH
        self.failing = False
        self.succeeded_at = time.monotonic()
        self.warned_at = float("-inf")

    def run(self, connection: psycopg.Connection) -> float:
        """Purge one batch. Return the seconds to pause before the next.

        Raises psycopg's errors when the thread needs a new connection: this one is lost, or the server is read-only.
        """
        start = time.monotonic()
        try:
            result = self.run_batch(connection)
        except psycopg.OperationalError as error:
            # Lock timeouts and statement timeouts belong to this class too. They leave the connection open.
            if connection.closed:
                raise
            self.fail(error)
            if isinstance(error, psycopg.errors.QueryCanceled):
                self.batch = max(SMALLEST_BATCH, self.batch // 4)
            return RETRY_SECONDS
        self.failing = False
        self.batch = min(BATCH, self.batch * 2)
        if result is None:
            # Mostly another process purges. A forgotten session with the lock would stop all of them.
            self.warn_without_success()
            return INTERVAL_SECONDS
        self.succeeded_at = time.monotonic()
        self.observe(result)
        if result.ended:
            return 0.0
        return PAUSES * (time.monotonic() - start) if result.is_busy else INTERVAL_SECONDS

    def run_batch(self, connection: psycopg.Connection) -> Purged | None:
        """Purge one batch, and write new deletions to the ledger, also after a failure. Raises psycopg's errors."""
        try:
            result = purge_batch(connection, self.batch)
        except psycopg.errors.ReadOnlySqlTransaction:
            # Deletions can't be marked there: each attempt would write the same lines again.
            raise
        except psycopg.Error:
            if not connection.closed:
                self.record(connection)
            raise
        self.record(connection)
        return result

    def record(self, connection: psycopg.Connection) -> None:
        """Write new deletions to the ledger. An unwritable file is logged once until a write succeeds.

        The database still has the deletions then, and the next call tries them again. Raises psycopg's errors.
        """
        if self.ledger_path is None:
            return
        try:
            recorded = record_deletions(connection, self.ledger_path)
        except (OSError, NotALedgerError) as error:
            if not self.is_ledger_failing:
                logger.warning(
                    "DELETION_LEDGER: deletions can't be written (%s), and are tried again; DELETION_LEDGER is %s that "
                    "the service can write, such as DELETION_LEDGER=%s: repair it, or a restored backup has these "
                    "users again",
                    reason(error),
                    LEDGER_RULE,
                    EXAMPLE_LEDGER,
                )
            self.is_ledger_failing = True
        else:
            self.is_ledger_failing = self.is_ledger_failing and not recorded

    def observe(self, purged: Purged) -> None:
        """Export a batch's figures, and warn when the purge does not keep up."""
        purged_rows.add(purged.activities, {"db.collection.name": "activities"})
        purged_rows.add(purged.idempotency_keys, {"db.collection.name": "idempotency_keys"})
        purged_rows.add(purged.messages, {"db.collection.name": "messages"})
        age = (datetime.now(UTC) - purged.oldest).total_seconds() if purged.oldest else 0.0
        oldest_age.set(max(0.0, age))
        if age > LATE_SECONDS:
            self.warn(
                "an activity or message that expired %d minutes ago is still there. bin/db-purge deletes without "
                "pauses; see Expiry in docs/database.md",
                age // 60,
            )

    def warn(self, reason: str, minutes: float) -> None:
        """Log that the purge does not keep up, once in `LATE_SECONDS`."""
        if time.monotonic() - self.warned_at > LATE_SECONDS:
            self.warned_at = time.monotonic()
            logger.warning(f"the purge does not keep up: {reason}", minutes)  # noqa: G004 - both texts are constants

    def fail(self, error: Exception) -> None:
        """Log a failure, once until a batch succeeds. The error's text is left out: it may quote a row.

        A failure that lasts means that the purge does not keep up.
        """
        if not self.failing:
            sqlstate = getattr(error, "sqlstate", None) or ""
            logger.warning("the purge failed and is tried again: %s %s", type(error).__name__, sqlstate)
        self.failing = True
        self.warn_without_success()

    def warn_without_success(self) -> None:
        """Warn when no batch of this thread has succeeded for an hour."""
        seconds = time.monotonic() - self.succeeded_at
        if seconds > LATE_SECONDS:
            self.warn("no batch has succeeded for %d minutes", seconds // 60)
