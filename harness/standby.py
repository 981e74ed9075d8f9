"""A standby that follows a cluster by streaming replication."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from psycopg.conninfo import make_conninfo

from harness.environment import Postgres, postgres
from harness.postgres import NOTHING, Cluster, folder, running
from harness.proxy import Proxy, proxy
from harness.waiting import wait_until
from ops.command import data_dir

FOLLOW_SECONDS = 30
STREAMING = (
    "SELECT pg_stat_replication.sync_state FROM pg_stat_replication WHERE pg_stat_replication.state = 'streaming'"
)


class Replication(NamedTuple):
    """A primary with users, its standby, and the network by which the standby follows."""

    primary: Postgres
    standby: Cluster
    network: Proxy


@contextmanager
def replication() -> Iterator[Replication]:
    """Run a primary and a standby while this lasts. Raises `CommandError`."""
    with (
        postgres() as primary,
        proxy(primary.cluster.port) as network,
        standby_of(primary.cluster, network.port) as standby,
    ):
        yield Replication(primary, standby, network)


@contextmanager
def standby_of(
    primary: Cluster, port: str, parent: Path | None = None, *, options: Mapping[str, str] = NOTHING
) -> Iterator[Cluster]:
    """Run a standby that follows the primary by way of `port` while this lasts. Raises `CommandError`."""
    with folder(parent or data_dir()) as own:
        standby = Cluster(own, options=options)
        source = make_conninfo(primary.url(dbname=""), port=port)
        primary.run("pg_basebackup", "-D", str(standby.data), "-d", source, "-R", "-X", "stream", "-c", "fast")
        with running(standby):
            wait_for_standby(primary, "async")
            yield standby


def wait_for_standby(primary: Cluster, state: str) -> None:
    """Wait until the standby follows in that state. Raises `CommandError`."""
    wait_until(lambda: (state,) in primary.rows(STREAMING), f"the standby's state {state}", FOLLOW_SECONDS)


def wait_for_replay(primary: Cluster, standby: Cluster) -> None:
    """Wait until the standby has replayed all that the primary has committed. Raises `CommandError`."""
    # At the start of a segment, as after a base backup, the position to insert at is behind a header that comes later.
    ((position,),) = primary.rows("SELECT pg_current_wal_flush_lsn()")
    replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
    wait_until(lambda: standby.rows(replayed, position) == [(True,)], "the standby's replay", FOLLOW_SECONDS)
