"""A standby is late or away, under clients that send back `Cruddur-Seen`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg.conninfo import make_conninfo

from faults.drill import Figures, at_least, at_most, drill, none_of
from faults.unprotected import without
from harness.environment import serving
from harness.load import load
from harness.sessions import Sessions
from harness.standby import Replication, replication, wait_for_standby

WRITERS, READERS = 8, 8
DISTANCE_SECONDS, LATE_SECONDS = 0.05, 10
# Between two reads of a reader.
PAUSE = 0.002
# A silent standby costs a request 1.5 s, and the primary has the rest.
SLOWEST_SECONDS = 2.5


def figures(sessions: Sessions, when: str, share: int = 0) -> Figures:
    """Yield the figures since the last call. `share` is the least percentage of reads by the standby."""
    writes, reads, missed, went_back = sessions.take()
    yield none_of(f"{when}: own posts missed of {len(writes) // 2:,}", missed)
    yield none_of(f"{when}: reads that went back in time of {len(reads):,}", went_back)
    yield none_of(f"{when}: failed of {len(writes) + len(reads):,} requests", writes.failed + reads.failed)
    yield at_most(f"{when}: slowest request", SLOWEST_SECONDS, max(writes.slowest, reads.slowest), "s")
    if share:
        by_standby = sum(answer.by_standby for answer in reads) / max(1, len(reads))
        yield at_least(f"{when}: reads by the standby", share, by_standby * 100, "%")


@contextmanager
def clients(run: Replication, broken: str) -> Iterator[Sessions]:
    """Run clients of a service over both servers, 50 ms apart, while this lasts, without the protection `broken`."""
    run.network.delay(DISTANCE_SECONDS)
    url, sessions = run.primary.database_url, Sessions(run.primary.people[:WRITERS])
    read_url = make_conninfo(url, port=run.standby.port)
    with (
        serving(url, without(broken, when=bool(broken)), READ_CONNECTION_URL=read_url) as service,
        load(service.url, WRITERS, sessions.write),
        load(service.url, READERS, sessions.read, pause=PAUSE),
    ):
        yield sessions


@drill(
    "standby-behind",
    "`Cruddur-Seen` and the floor of a second (here each response of the standby counts)",
    is_short=True,
    writes=100,
    reads=500,
)
def behind(*, broken: bool, writes: int = 5000, reads: int = 10_000) -> Figures:
    """Run a standby 50 ms away, and then 10 s, under clients that post, read back, and read what others post."""
    with replication() as run, clients(run, "seen" if broken else "") as sessions:
        sessions.wait_for(writes, reads)
        yield from figures(sessions, "50 ms away", share=25)
        run.network.delay(LATE_SECONDS)
        time.sleep(LATE_SECONDS)
        yield from figures(sessions, "becoming late")
        sessions.wait_for(writes // 10, reads // 10)
        yield from figures(sessions, "10 s late")


@drill(
    "standby-gone",
    "the primary, which answers where the standby fails (here the failure is the client's)",
    is_short=True,
    seconds=2,
)
def gone(*, broken: bool, seconds: float = 10) -> Figures:
    """Stop the standby, kill it (-9), freeze it, and promote it, under the same clients."""
    with replication() as run, clients(run, "fallback" if broken else "") as sessions:
        standby = run.standby
        faults: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "stopped": (standby.stop, standby.start),
            "killed": (standby.kill, standby.start),
            "frozen": (standby.freeze, standby.thaw),
            "promoted": (lambda: standby.rows("SELECT pg_promote()"), lambda: None),
        }
        for what, (begin, end) in faults.items():
            wait_for_standby(run.primary.cluster, "async")
            time.sleep(seconds)
            begin()
            time.sleep(seconds)
            end()
            yield from figures(sessions, what)
