"""A backup, restored where there is nothing: every row is what it was."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from faults.drill import Figure, none_of
from faults.writers import Writers
from harness.environment import OTHERS, ground, serving
from harness.load import load
from harness.postgres import Cluster, cluster
from harness.wrk import output
from lib.command_errors import CommandError
from ops.command import ROOT

WRITERS, WRITES = 4, 200
RESTORED = "cruddur_restored"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
# Not as bin/db-restore compares: a mistake of its own would go unnoticed.
CHECKSUM = "SELECT md5(string_agg(counted::text, ' ' ORDER BY counted::text)) FROM {} AS counted"
CHANGE = "UPDATE users SET bio = 'changed after the backup' WHERE handle = %s"


def restored(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Back a cluster up while people write, and once more when they have stopped, and restore both into another."""
    with ground() as source, cluster() as empty, tempfile.TemporaryDirectory() as folder:
        writers = Writers(source.people)
        busy, quiet = Path(folder) / "busy", Path(folder) / "quiet"
        with serving(source.url) as service, load(service.url, WRITERS, writers.write):
            writers.wait_for(WRITES)
            script("db-backup", source.cluster, str(busy))
            writers.wait_for(WRITES)
        script("db-backup", source.cluster, str(quiet))
        if broken:
            source.rows(CHANGE, source.people[0].handle)
        script("db-restore", empty, str(quiet), RESTORED)
        before, after = checksums(source.cluster.url()), checksums(empty.url(dbname=RESTORED))
        unverified = is_refused(empty, busy)
    differing = sum(before.get(name) != after.get(name) for name in before.keys() | after.keys())
    yield none_of(f"of {len(before)} tables differ, with {len(writers.acknowledged):,} writes in them", differing)
    yield none_of(f"of 1 backup under {WRITERS} writers is not restored and verified", unverified)


def checksums(url: str) -> dict[str, str]:
    """A checksum over all rows of each table."""
    with psycopg.connect(url, autocommit=True) as connection:
        names = [name for (name,) in connection.execute(TABLES)]
        found = [connection.execute(SQL(CHECKSUM).format(Identifier(name))).fetchone() for name in names]
    return dict(zip(names, (str(row) for row in found), strict=True))


def is_refused(empty: Cluster, file: Path) -> bool:
    """Whether bin/db-restore finds anything that is not as the backup's manifest says."""
    try:
        script("db-restore", empty, str(file), f"{RESTORED}_busy")
    except CommandError:
        return True
    return False


def script(name: str, where: Cluster, *arguments: str) -> None:
    """Run one of the database's scripts on a cluster. Raises `CommandError`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    output(str(ROOT / "bin" / name), *arguments, environ={**kept, "CONNECTION_URL": where.url()})
