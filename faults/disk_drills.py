"""Postgres's disk is full."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from bench.load import output
from faults.cluster import Cluster
from faults.drill import Drill, Figure, at_least, at_most, none_of
from faults.ground import ground, serving
from faults.load import NEVER, ended_within, first_ok, getting, load, not_ok
from faults.scene import PAUSE, READERS, WRITERS
from faults.writers import Writers, is_refusal
from ops.command import data_dir

SIZE_MB = 256
MEGABYTE, PAGE = 1 << 20, 1 << 12
FULL_SECONDS, NORMAL_SECONDS, ENOUGH_SECONDS = 4, 5, 15
# Between two starts of a Postgres that gives up.
RESTART_SECONDS = 1.0


def full(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Fill the disk of a Postgres that is written to: first the tables find no room, then the log too."""
    with small_disk() as disk, ground(disk) as postgres, serving(postgres.url) as service:
        writers = Writers(postgres.people)
        page = f"/api/activities/@{postgres.people[0].handle}"
        # As an init system would.
        started_again = None if broken else postgres.cluster
        with load(service.url, WRITERS, writers.write):
            writers.wait_for(WRITERS)
            with load(service.url, READERS, getting(page), pause=PAUSE) as read, filled(disk):
                refused = refusals(writers, None)
            yield at_least("writes refused by 503 while tables can't grow", 1, refused, "of them")
            yield none_of(f"reads failed meanwhile, of {len(read):,}", not_ok(read))
            yield at_most("first write after that", NORMAL_SECONDS, back(writers, None), "s")
            with filled(disk):
                end_log_file(postgres.cluster)
                refused = refusals(writers, started_again)
            yield at_least("writes refused by 503 while the log can't grow", 1, refused, "of them")
            yield at_most("first write after that", NORMAL_SECONDS, back(writers, started_again), "s")
            # Also where nobody else has.
            postgres.cluster.start()
        yield none_of("answers that are neither 200 nor 503", writers.odd())
        yield none_of(f"lost of {len(writers.acknowledged):,} acknowledged writes", writers.lost(postgres))
        yield none_of("doubled", writers.doubled(postgres))


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of its own, in memory. Raises `CommandError` where this user may not mount one."""
    with tempfile.TemporaryDirectory(prefix="cruddur-disk-", dir=data_dir()) as folder:
        output("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=755", "cruddur-faults", folder)
        try:
            yield Path(folder)
        finally:
            output("umount", folder)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Take all the room that is left, to the last page, and give it back."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (MEGABYTE, PAGE):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    yield
    filler.unlink()


def end_log_file(cluster: Cluster) -> None:
    """Have Postgres begin another file of its log, again and again until it can't, and gives up."""
    with suppress(psycopg.OperationalError), psycopg.connect(cluster.url(), autocommit=True) as connection:
        while True:
            # A file that nothing was written to is not left.
            connection.execute("SELECT pg_logical_emit_message(true, 'drill', 'one more')")
            connection.execute("SELECT pg_switch_wal()")


def refusals(writers: Writers, started_again: Cluster | None) -> int:
    """How many writes are refused in some seconds."""
    begun = time.monotonic()
    wait(started_again, FULL_SECONDS, lambda: False)
    return sum(map(is_refusal, ended_within(writers.answers, begun, time.monotonic())))


def back(writers: Writers, started_again: Cluster | None) -> float:
    """How long it takes from now to the first write that is acknowledged."""
    since = time.monotonic()
    wait(started_again, ENOUGH_SECONDS, lambda: first_ok(writers.answers, since) is not None)
    first = first_ok(writers.answers, since)
    return first.ended - since if first else NEVER


def wait(started_again: Cluster | None, seconds: float, is_enough: Callable[[], bool]) -> None:
    """Wait for so long, or until it is enough, and start a Postgres again, if one is given, when it has given up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not is_enough():
        if started_again and not started_again.is_running:
            started_again.launch()
        time.sleep(RESTART_SECONDS)


DRILLS = [
    Drill(
        "disk-full",
        "Postgres's file system, of 256 MB, filled under 16 writers with keys and 8 readers, and freed: first until no "
        "table can grow, then until its log can't either and Postgres gives up",
        "an init system that starts Postgres again (here nobody does)",
        full,
    ),
]
