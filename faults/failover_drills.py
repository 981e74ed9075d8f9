"""The primary goes, and its standby takes over."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import make_conninfo

from faults.cluster import HOST, Cluster, folder
from faults.drill import Drill, Figure, at_most, none_of
from faults.ground import Ground, ground, rows, serving
from faults.load import load, wait_for_ok
from faults.proxy import Proxy, proxy
from faults.scene import WRITERS
from faults.writers import Writers
from lib.command_errors import CommandError
from ops.command import data_dir

# From primary to standby.
DISTANCE_SECONDS = 0.05
BEFORE_SECONDS = 3
WAIT_SECONDS = 30
STREAMING = (
    "SELECT pg_stat_replication.sync_state FROM pg_stat_replication WHERE pg_stat_replication.state = 'streaming'"
)


def promoted(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Kill the primary under writers, and promote its standby."""
    with ground() as primary, proxy(primary.cluster.port) as network, standby_of(primary, network) as standby:
        if not broken:
            wait_for_commits(primary)
        network.delay(DISTANCE_SECONDS)
        ports = f"{primary.cluster.port},{standby.port}"
        words = {"host": f"{HOST},{HOST}", "port": ports, "target_session_attrs": "read-write"}
        with serving(make_conninfo(primary.url, **words)) as service:
            writers = Writers(primary.people)
            with load(service.url, WRITERS, writers.write):
                time.sleep(BEFORE_SECONDS)
                primary.cluster.kill()
                # With what was on its way.
                network.cut()
                before = len(writers.acknowledged)
                rows(standby, "SELECT pg_promote()")
                promotion = time.monotonic()
                first = wait_for_ok(writers.answers, promotion)
                writers.wait_for(WRITERS)
            moved = Ground(standby, primary.people)
            yield none_of(f"lost of {before:,} writes acknowledged before", writers.lost(moved))
            yield none_of("doubled", writers.doubled(moved))
            yield at_most("first write after the promotion", 5, first.ended - promotion, "s")
            yield none_of("answers that are neither 200 nor 503", writers.odd())


@contextmanager
def standby_of(primary: Ground, network: Proxy) -> Iterator[Cluster]:
    """A standby that follows the primary by way of the network."""
    with folder(data_dir()) as own:
        standby = Cluster(own)
        source = make_conninfo(primary.cluster.url(dbname=""), port=network.port)
        primary.cluster.run("pg_basebackup", "-D", str(standby.data), "-d", source, "-R", "-X", "stream", "-c", "fast")
        try:
            standby.start()
            wait_for_row(primary, ("async",))
            yield standby
        finally:
            standby.end()


def wait_for_commits(primary: Ground) -> None:
    """Have the primary acknowledge nothing that its standby has not on its disk."""
    primary.rows("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.rows("SELECT pg_reload_conf()")
    wait_for_row(primary, ("sync",))


def wait_for_row(primary: Ground, row: tuple[str]) -> None:
    """Wait until the standby is what `row` says. Raises `CommandError`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while primary.rows(STREAMING) != [row]:
        if time.monotonic() > deadline:
            raise CommandError("the standby does not follow")
        time.sleep(0.05)


DRILLS = [
    Drill(
        "standby-promoted",
        "the primary killed (-9) under 16 writers with keys, and its standby, 50 ms away, promoted",
        "commits that wait for the standby: `synchronous_standby_names` (here they do not)",
        promoted,
    ),
]
