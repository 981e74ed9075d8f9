"""An ALTER TABLE that waits behind a long reader, and behind which all other statements on the table wait."""

import threading
import time
from collections.abc import Iterator
from http import HTTPStatus

import psycopg

from faults.drill import Figure, at_least, at_most, none_of
from faults.statement_timeout import sessions
from harness.environment import Ground, ground, serving
from harness.load import ended_within, getting, load, not_ok, slowest, status_of, wait_for_ok
from lib.command_errors import CommandError

READERS, PAUSE = 4, 0.01
WAIT_SECONDS = 10
ALTER = "ALTER TABLE activities ADD COLUMN drilled integer"
WAITING = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%%' AND wait_event_type = 'Lock'"
NO_TIMEOUTS = (
    "ALTER ROLE cruddur_service SET lock_timeout TO 0",
    "ALTER ROLE cruddur_service SET statement_timeout TO 0",
)


def waiting_alter(seconds: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Have ALTER TABLE wait for so many seconds, under readers of the table and of another."""
    with ground() as postgres:
        for statement in NO_TIMEOUTS if broken else ():
            postgres.rows(statement)
        handle = postgres.people[0].handle
        with serving(postgres.url) as service:
            before = sessions(postgres)
            alter = threading.Thread(target=postgres.rows, args=(ALTER,))
            with (
                load(service.url, READERS, getting(f"/api/activities/@{handle}"), pause=PAUSE) as readers,
                load(service.url, 1, getting("/livez"), pause=PAUSE) as alive,
            ):
                with psycopg.connect(postgres.cluster.url()) as long_reader:
                    long_reader.execute("SELECT count(*) FROM activities")
                    alter.start()
                    wait_until_it_waits(postgres)
                    begun = time.monotonic()
                    time.sleep(seconds)
                    ended = time.monotonic()
                alter.join()
                first = wait_for_ok(readers, ended)
            lost = before - sessions(postgres)
    meanwhile = ended_within(readers, begun, ended)
    refused = status_of(readers, HTTPStatus.SERVICE_UNAVAILABLE)
    yield at_least("requests refused by 503", 1, refused, "of them")
    yield at_most("slowest meanwhile", 2.5, slowest(meanwhile), "s")
    yield none_of("answers that are neither 200 nor 503", not_ok(readers) - refused)
    yield none_of(f"/livez not 200, of {len(alive):,}", not_ok(alive))
    yield none_of(f"lost of {len(before)} connections", len(lost))
    yield at_most("first 200 after the long reader's end", 2, first.ended - ended, "s")


def wait_until_it_waits(postgres: Ground) -> None:
    """Return when ALTER TABLE waits for its lock. Raises `CommandError`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not postgres.rows(WAITING):
        if time.monotonic() > deadline:
            raise CommandError("ALTER TABLE does not wait")
        time.sleep(0.01)
