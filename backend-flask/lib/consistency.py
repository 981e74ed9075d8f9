"""Read-your-writes over standbys: what a client has seen, and whether a standby has replayed as much.

These are the session guarantees "read your writes" and "monotonic reads" (Terry et al., "Session Guarantees for
Weakly Consistent Replicated Data", 1994). A client sends back `Cruddur-Seen`. Every read of a standby is also
bounded in its age.
"""

import re
import struct
import threading
import time
from collections import deque
from typing import NamedTuple, Self

# The most seconds by which a standby's response may be behind the primary.
MAX_AGE_SECONDS = 1.0
# After this time a read goes to the primary, whose snapshot later shows how far a standby is behind.
SAMPLE_SECONDS = 0.25
SEEN = re.compile("([0-9a-f]{8})-([0-9]{1,19})")


class Snapshot(NamedTuple):
    """The bounds of a snapshot. Transactions below `xmin` have ended; no transaction from `xmax` on has.

    https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT-PARTS
    """

    xmin: int
    xmax: int

    @classmethod
    def parse(cls, value: bytes) -> Self:
        """Return the bounds in a `pg_snapshot` in Postgres' binary format: a count of 4 bytes, then these two."""
        return cls(*struct.unpack_from(">qq", value, 4))


class Seen(NamedTuple):
    """The last transaction that a client may have seen, in one history of the cluster.

    A restored or promoted cluster has another history, in which the same numbers mean other transactions.
    """

    history: str
    transaction: int

    def __str__(self) -> str:
        return f"{self.history}-{self.transaction}"

    @classmethod
    def parse(cls, header: str) -> Self:
        """Return the value of a header `Cruddur-Seen`. A malformed one has an empty history, which nothing includes."""
        match = SEEN.fullmatch(header)
        return cls(match[1], int(match[2])) if match else cls("", 0)

    def includes(self, other: Self) -> bool:
        """Return whether a client that has seen this much has also seen `other`."""
        return self.history == other.history and self.transaction >= other.transaction


# After a write that the service could not follow up: no server holds this, so that the client's next read is the
# primary's.
UNKNOWN = Seen("00000000", 0)


def holds(history: str, snapshot: Snapshot, seen: Seen | None) -> bool:
    """Return whether a snapshot in `history` holds all that `seen` names. An unknown `seen` may be anything."""
    return seen is not None and seen.history == history and seen.transaction < snapshot.xmin


class Sample(NamedTuple):
    """The last transaction that a read of the primary has seen, and the monotonic time at which the read began."""

    began_at: float
    seen: Seen


class Floor:
    """The least that a standby must have replayed, so that no response is older than `MAX_AGE_SECONDS`.

    Samples are the process's own reads of the primary. The floor is the oldest sample within that time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque()
        self._claimed_at = float("-inf")

    def claim_sample(self) -> bool:
        """Return whether the caller's read must go to the primary, so that its snapshot becomes a sample."""
        now = time.monotonic()
        with self._lock:
            is_due = now - self._claimed_at >= SAMPLE_SECONDS
            if is_due:
                self._claimed_at = now
        return is_due

    def record(self, sample: Sample) -> None:
        """Keep a sample, at most one for `SAMPLE_SECONDS`. The samples of another history are dropped."""
        with self._lock:
            if self._samples and self._samples[-1].seen.history != sample.seen.history:
                self._samples.clear()
            if not self._samples or sample.began_at - self._samples[-1].began_at >= SAMPLE_SECONDS:
                self._samples.append(sample)

    def read(self) -> Seen | None:
        """Return the floor, `None` when no read of the primary began within `MAX_AGE_SECONDS`."""
        oldest = time.monotonic() - MAX_AGE_SECONDS
        with self._lock:
            while self._samples and self._samples[0].began_at < oldest:
                self._samples.popleft()
            return self._samples[0].seen if self._samples else None


class Consistency:
    """The session guarantees of one request, whose client has sent `seen` as its `Cruddur-Seen`."""

    def __init__(self, floor: Floor, seen: Seen | None) -> None:
        self._floor = floor
        self._given = seen
        # What the request's own statements have seen, and the last transaction up to which the newest of them has all.
        self.seen: Seen | None = None
        self.held: Seen | None = None

    def wants_standby(self) -> bool:
        """Return whether the next read should ask a standby."""
        if self._floor.claim_sample():
            return False
        floor = self._floor.read()
        return floor is not None and (self._given is None or self._given.history == floor.history)

    def is_behind_floor(self, history: str, snapshot: Snapshot) -> bool:
        """Return whether a standby that follows `history` is too old for any request."""
        return not holds(history, snapshot, self._floor.read())

    def accept(self, history: str, snapshot: Snapshot) -> bool:
        """Return whether a standby's snapshot holds all that this request must see, and record an accepted one.

        In another history than the primary's the same numbers mean other transactions: a failover leaves a standby
        behind that had replayed more than the new primary.
        """
        required = [self._floor.read(), *(seen for seen in (self._given, self.seen) if seen)]
        if not all(holds(history, snapshot, seen) for seen in required):
            return False
        self.record(Seen(history, snapshot.xmax - 1))
        self.held = Seen(history, snapshot.xmin - 1)
        return True

    def sample(self, began_at: float, history: str, snapshot: Snapshot) -> None:
        """Record a snapshot of the primary, taken after `began_at`."""
        seen = Seen(history, snapshot.xmax - 1)
        self._floor.record(Sample(began_at, seen))
        self.record(seen)
        self.held = Seen(history, snapshot.xmin - 1)

    def record(self, seen: Seen) -> None:
        """Record that the response shows `seen`."""
        if self.seen is None or not self.seen.includes(seen):
            self.seen = seen

    def forget(self) -> None:
        """Record that the response shows an unknown state."""
        self.seen = UNKNOWN

    def allows(self, held: Seen | None) -> bool:
        """Return whether a cached response that has all transactions up to `held` has all that the client has seen."""
        return self._given is None or (held is not None and held.includes(self._given))
