"""Postgres's disk is full."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from faults.database import PAUSE, READERS, WRITERS
from faults.drill import Figures, at_least, at_most, drill, none_of
from faults.writers import Writers
from harness.environment import postgres, serving
from harness.load import NO_ANSWER, getting, load
from harness.postgres import Cluster
from harness.processes import output
from harness.waiting import poll
from ops.command import data_dir

SIZE_MB = 256
MEGABYTE, PAGE = 1 << 20, 1 << 12
FULL_SECONDS, NORMAL_SECONDS, PATIENCE = 4, 5, 15
# Between two starts of a Postgres that gives up.
RESTART_SECONDS = 1.0


@drill("disk-full", "an init system that starts Postgres again (here there is none)")
def disk_full(*, broken: bool) -> Figures:
    """Fill Postgres's disk of 256 MB under 16 writers with keys and 8 readers, and free it.

    First no table can grow, then the log of Postgres can't either, and Postgres gives up.
    """
    with small_disk() as disk, postgres(disk) as database, serving(database.database_url) as service:
        writers = Writers(database.people)
        # As an init system would.
        restarted = None if broken else database.cluster
        with load(service.url, WRITERS, writers.write):
            writers.wait_for(WRITERS)
            with load(service.url, READERS, getting(database.page), pause=PAUSE) as read, filled(disk):
                refused = refusals(writers, None)
            yield at_least("writes refused by 503 while tables can't grow", 1, refused, "of them")
            yield none_of(f"reads failed meanwhile, of {len(read):,}", read.failed)
            yield at_most("first write after that", NORMAL_SECONDS, seconds_to_write(writers, None), "s")
            with filled(disk):
                end_log_file(database.cluster)
                refused = refusals(writers, restarted)
            yield at_least("writes refused by 503 while the log can't grow", 1, refused, "of them")
            yield at_most("first write after that", NORMAL_SECONDS, seconds_to_write(writers, restarted), "s")
            # Also without an init system.
            database.cluster.start()
        yield writers.neither_200_nor_503()
        yield from writers.lost_and_doubled(database)


@contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a file system in memory while this lasts. Raises `CommandError` where this user may not mount one."""
    with tempfile.TemporaryDirectory(prefix="cruddur-disk-", dir=data_dir()) as folder:
        output("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=755", "cruddur-faults", folder)
        try:
            yield Path(folder)
        finally:
            output("umount", folder)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Take all the room that is left, to the last page, while this lasts."""
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
            # Postgres does not leave an empty file.
            connection.execute("SELECT pg_logical_emit_message(true, 'drill', 'one more')")
            connection.execute("SELECT pg_switch_wal()")


def refusals(writers: Writers, restarted: Cluster | None) -> int:
    """Return the number of writes that are refused in some seconds."""
    begun = time.monotonic()
    wait(restarted, FULL_SECONDS, lambda: False)
    return sum(answer.is_database_unavailable for answer in writers.answers.within(begun, time.monotonic()))


def seconds_to_write(writers: Writers, restarted: Cluster | None) -> float:
    """Return the seconds from now to the first acknowledged write."""
    since = time.monotonic()
    wait(restarted, PATIENCE, lambda: writers.answers.first_ok(since) is not None)
    return (writers.answers.first_ok(since) or NO_ANSWER).ended - since


def wait(restarted: Cluster | None, seconds: float, is_over: Callable[[], bool]) -> None:
    """Wait for so long, or until it is over. A cluster, if there is one, is launched whenever it has given up."""

    def look() -> bool:
        if restarted and not restarted.is_running:
            restarted.launch()
        return is_over()

    poll(look, seconds, pause=RESTART_SECONDS)
