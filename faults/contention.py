"""Other sessions hold the locks and slots of a Postgres that is well."""

import threading
import time

import psycopg

from faults.drill import Figures, at_least, at_most, drill, none_of
from faults.unprotected import without
from harness.environment import environment, postgres, serving
from harness.load import getting, load
from harness.postgres import locked
from harness.waiting import wait_until

PAUSE, PATIENCE = 0.01, 10
# A statement then waits for a lock until its own timeout.
NO_LOCK_TIMEOUT = "ALTER ROLE cruddur_service SET lock_timeout TO 0"
# As the service's own deadline, which then ends the wait first.
STATEMENT_TIMEOUT = "ALTER ROLE cruddur_service SET statement_timeout TO '{}'"
# As if others had taken the slots: a new connection is refused by the same SQLSTATE, 53300.
NO_SLOT = "ALTER ROLE cruddur_service CONNECTION LIMIT {}"
# Sessions that wait for a lock: in each of them is a request's statement.
TERMINATE = """
    SELECT pg_terminate_backend(pid, 5000)
    FROM pg_stat_activity
    WHERE usename = 'cruddur_service' AND wait_event_type = 'Lock'
"""
WAITING = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%%' AND wait_event_type = 'Lock'"


@drill(
    "statement-timeout",
    "Postgres' statement timeout of 1.8 s, before the deadline of 2 s (here it is 2 s too)",
    is_short=True,
    seconds=3,
)
def statement_timeout(*, broken: bool, seconds: float = 10) -> Figures:
    """Lock a table for 10 s, under 2 readers of it and 2 of another, with no timeout for locks."""
    with postgres() as database:
        database.rows(NO_LOCK_TIMEOUT)
        if broken:
            database.rows(STATEMENT_TIMEOUT.format("2s"))
        with serving(database.database_url) as service:
            before = database.sessions()
            with (
                locked(database.cluster.url()),
                load(service.url, 2, getting(database.page)) as slow,
                load(service.url, 2, getting(f"/api/users/@{database.people[0].handle}/short"), pause=PAUSE) as others,
            ):
                time.sleep(seconds)
            lost = before - database.sessions()
            opened = service.log.read_text().count("may be away")
    yield at_least("requests ended by the timeout", 2, slow.with_status(503), "of them")
    yield none_of(f"failed of {len(others):,} other requests", others.failed)
    yield none_of(f"lost of {len(before)} connections", len(lost))
    yield none_of("circuit breakers opened", opened)


@drill(
    "no-slot-left",
    "the circuit breaker's probe on a pooled connection (here it always makes a new one)",
    is_short=True,
    seconds=1,
)
def no_slot_left(*, broken: bool, seconds: float = 10) -> Figures:
    """End a session under its statement, with no slot left in Postgres for another."""
    with environment(command=without("idle-probe", when=broken)) as env:
        before = env.sessions()
        env.rows(NO_SLOT.format(len(before) - 1))
        with locked(env.cluster.url()), load(env.url, 1, getting(env.page)):
            wait_until(lambda: env.rows(TERMINATE), "a statement's wait for the lock", PATIENCE)
        time.sleep(0.5)
        with load(env.url, 2, getting(f"/api/users/@{env.people[0].handle}/short"), pause=PAUSE) as answers:
            time.sleep(seconds)
        lost = len(before) - len(env.sessions())
        opened = env.service.log.read_text().count("may be away")
    yield at_least(f"lost for good of {len(before)} connections", 1, lost, "connections")
    yield at_least("circuit breakers opened", 1, opened, "times")
    yield none_of(f"failed of {len(answers):,} requests after that", answers.failed)


@drill("waiting-alter", "the role's lock timeout of 1 s (here it has no timeouts)", is_short=True, seconds=3)
def waiting_alter(*, broken: bool, seconds: float = 10) -> Figures:
    """Have ALTER TABLE wait for 10 s behind a long reader, under 4 readers of the table."""
    with postgres() as database:
        for statement in (NO_LOCK_TIMEOUT, STATEMENT_TIMEOUT.format("0")) if broken else ():
            database.rows(statement)
        with serving(database.database_url) as service:
            before = database.sessions()
            alter = threading.Thread(target=database.rows, args=("ALTER TABLE activities ADD COLUMN drilled integer",))
            with (
                load(service.url, 4, getting(database.page), pause=PAUSE) as readers,
                load(service.url, 1, getting("/livez"), pause=PAUSE) as alive,
            ):
                with psycopg.connect(database.cluster.url()) as long_reader:
                    long_reader.execute("SELECT count(*) FROM activities")
                    alter.start()
                    wait_until(lambda: database.rows(WAITING), "ALTER TABLE's wait for its lock", PATIENCE)
                    begun = time.monotonic()
                    time.sleep(seconds)
                    ended = time.monotonic()
                alter.join()
                first = readers.wait_for_ok(ended)
            lost = before - database.sessions()
    yield at_least("requests refused by 503", 1, readers.with_status(503), "of them")
    yield at_most("slowest meanwhile", 2.5, readers.within(begun, ended).slowest, "s")
    yield none_of("answers that are neither 200 nor 503", readers.neither_200_nor_503())
    yield none_of(f"/livez not 200, of {len(alive):,}", alive.failed)
    yield none_of(f"lost of {len(before)} connections", len(lost))
    yield at_most("first 200 after the long reader's end", 2, first.ended - ended, "s")
