"""Postgres is away behind a pooler."""

import time

from faults.drill import Figures, at_most, drill, none_of
from faults.writers import Writers
from harness.environment import postgres, serving
from harness.load import Answers, getting, load
from harness.pgbouncer import pgbouncer

READERS, WRITERS, PAUSE = 8, 4, 0.01
# Fewer server connections than clients: a client's transactions run in several sessions.
SERVER_CONNECTIONS = "4"
# Each process has a circuit breaker of its own.
PROBE_SECONDS = 0.5


@drill("pooler", "`server_login_retry=1` of docs/pgbouncer.ini (here PgBouncer's default of 15 s)", is_short=True)
def pooler(*, broken: bool, seconds: float = 5) -> Figures:
    """Stop Postgres for 5 s behind PgBouncer, under 8 readers and 4 writers with keys."""
    changed = {"server_login_retry": "15"} if broken else {}
    with (
        postgres() as database,
        pgbouncer(database.database_url, default_pool_size=SERVER_CONNECTIONS, **changed) as bouncer,
        serving(bouncer.url, DATABASE_PREPARE="off") as service,
    ):
        writers = Writers(database.people)
        read, write = getting(database.page), writers.write
        with load(service.url, READERS, read, pause=PAUSE) as readings, load(service.url, WRITERS, write, pause=PAUSE):
            time.sleep(2)
            before = Answers([*readings, *writers.answers])
            database.cluster.stop()
            time.sleep(seconds)
            back = database.cluster.start()
            first = readings.wait_for_ok(back, patience=30)
            time.sleep(3)
        yield from writers.lost_and_doubled(database)
    later = Answers([*readings, *writers.answers]).sent_after(first.ended + PROBE_SECONDS)
    yield none_of(f"failed of {len(before):,} requests before the outage", before.failed)
    yield at_most("first 200 after the outage", 2, first.ended - back, "s")
    yield none_of(f"failed of {len(later):,} requests from {PROBE_SECONDS} s after that on", later.failed)
    yield writers.neither_200_nor_503()
