"""Statements that run into Postgres' statement timeout: each costs its request, and no connection."""

import time
from collections.abc import Iterator
from http import HTTPStatus

import psycopg

from faults.drill import Figure, at_least, none_of
from harness.environment import Ground, ground, serving
from harness.load import Answer, getting, load, not_ok, status_of

SLOW, READERS = 2, 2
PAUSE = 0.01
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE usename = 'cruddur_service'"
# A lock is then waited for until the statement's own end.
NO_LOCK_TIMEOUT = "ALTER ROLE cruddur_service SET lock_timeout TO 0"
# As the service's own deadline, which then ends the wait first.
AS_THE_DEADLINE = "ALTER ROLE cruddur_service SET statement_timeout TO '2s'"


def statement_timeout(seconds: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Lock a table for so many seconds, and ask for pages that need it and for others."""
    with ground() as postgres:
        postgres.rows(NO_LOCK_TIMEOUT)
        if broken:
            postgres.rows(AS_THE_DEADLINE)
        with serving(postgres.url) as service:
            before = sessions(postgres)
            slow, others = ask_during_lock(postgres, service.url, seconds)
            lost = before - sessions(postgres)
            opened = service.log.read_text().count("may be away")
    yield at_least("requests ended by the timeout", SLOW, status_of(slow, HTTPStatus.SERVICE_UNAVAILABLE), "of them")
    yield none_of(f"failed of {len(others):,} other requests", not_ok(others))
    yield none_of(f"lost of {len(before)} connections", len(lost))
    yield none_of("circuit breakers opened", opened)


def ask_during_lock(postgres: Ground, url: str, seconds: float) -> tuple[list[Answer], list[Answer]]:
    """Return the responses of pages that wait for the lock, and of pages that do not."""
    handle = postgres.people[0].handle
    with psycopg.connect(postgres.cluster.url()) as owner:
        owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        with (
            load(url, SLOW, getting(f"/api/activities/@{handle}")) as slow,
            load(url, READERS, getting(f"/api/users/@{handle}/short"), pause=PAUSE) as others,
        ):
            time.sleep(seconds)
    return slow, others


def sessions(postgres: Ground) -> set[int]:
    """Return the process ids of the service's sessions."""
    return {pid for (pid,) in postgres.rows(SESSIONS)}
