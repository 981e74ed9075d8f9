"""Postgres's disk is full."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import psycopg

from faults.database import PAUSE, READERS, WRITERS
from faults.drill import Figures, at_least, at_most, drill, none_of
from faults.writers import Writers
from harness.environment import postgres, serving
from harness.figures import Figure
from harness.load import getting, load
from harness.postgres import Cluster
from harness.processes import output
from harness.waiting import repeating, sleep
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
        with load(service.url, WRITERS, writers.write):
            writers.wait_for(WRITERS)
            with load(service.url, READERS, getting(database.page), pause=PAUSE) as read, filled(disk):
                full = sleep(FULL_SECONDS)
            yield refused(writers, "tables", full)
            yield none_of(f"reads failed meanwhile, of {len(read):,}", read.failed)
            yield first_write(writers, full)
            with nullcontext() if broken else repeating(partial(restart, database.cluster), RESTART_SECONDS):
                with filled(disk):
                    end_log_file(database.cluster)
                    full = sleep(FULL_SECONDS)
                yield refused(writers, "the log", full)
                yield first_write(writers, full)
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


def restart(cluster: Cluster) -> None:
    """Launch Postgres if it has given up, as an init system would."""
    if not cluster.is_running:
        cluster.launch()


def refused(writers: Writers, what: str, span: tuple[float, float]) -> Figure:
    """Return the figure of writes that are refused in these seconds."""
    count = sum(answer.is_database_unavailable for answer in writers.answers.within(*span))
    return at_least(f"writes refused by 503 while {what} can't grow", 1, count, "of them")


def first_write(writers: Writers, span: tuple[float, float]) -> Figure:
    """Return the figure of the first acknowledged write after these seconds."""
    first = writers.answers.wait_for_ok(span[1], patience=PATIENCE)
    return at_most("first write after that", NORMAL_SECONDS, first.ended - span[1], "s")
