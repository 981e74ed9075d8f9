"""A connection is lost, and Postgres has no slot for another: the others must go on."""

import time
from collections.abc import Iterator

import psycopg

from faults.drill import Figure, at_least, none_of
from faults.statement_timeout import sessions
from faults.unprotected import without
from harness.environment import SERVE, Ground, ground, serving
from harness.load import getting, load, not_ok
from lib.command_errors import CommandError

READERS, PAUSE = 2, 0.01
LOSE_SECONDS = 10
# As if others had taken the slots: a new connection is refused by the same SQLSTATE, 53300.
NO_SLOT = "ALTER ROLE cruddur_service CONNECTION LIMIT {}"
# Sessions that wait for a lock: in each of them is a request's statement.
TERMINATE = """
    SELECT pg_terminate_backend(pid, 5000)
    FROM pg_stat_activity
    WHERE usename = 'cruddur_service' AND wait_event_type = 'Lock'
"""


def no_slot_left(seconds: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Lose a connection for good, and see for so many seconds how requests are served by the others."""
    with ground() as postgres, serving(postgres.url, without("idle-probe") if broken else SERVE) as service:
        person = postgres.people[0].handle
        before = sessions(postgres)
        postgres.rows(NO_SLOT.format(len(before) - 1))
        with psycopg.connect(postgres.cluster.url()) as owner:
            owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
            with load(service.url, 1, getting(f"/api/activities/@{person}")):
                lose_one(postgres)
        time.sleep(0.5)
        with load(service.url, READERS, getting(f"/api/users/@{person}/short"), pause=PAUSE) as answers:
            time.sleep(seconds)
        lost = len(before) - len(sessions(postgres))
        opened = service.log.read_text().count("may be away")
    yield at_least(f"lost for good of {len(before)} connections", 1, lost, "connections")
    yield at_least("circuit breakers opened", 1, opened, "times")
    yield none_of(f"failed of {len(answers):,} requests after that", not_ok(answers))


def lose_one(postgres: Ground) -> None:
    """End the session of a statement that waits for a lock. Raises `CommandError` when there is none."""
    deadline = time.monotonic() + LOSE_SECONDS
    while not postgres.rows(TERMINATE):
        if time.monotonic() > deadline:
            raise CommandError("no statement waits for the lock")
        time.sleep(0.01)
