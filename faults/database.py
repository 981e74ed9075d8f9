"""Postgres or the network to it is away or slow, a standby takes over, and other sessions hold locks and slots."""

import threading
import time
from http import HTTPStatus

import psycopg
from psycopg.conninfo import make_conninfo

from faults.drill import Figures, at_least, at_most, drill, none_of
from faults.unprotected import without
from faults.writers import Writers
from harness.environment import Postgres, environment, postgres, serving
from harness.load import NEVER, Answers, getting, load
from harness.ports import HOST
from harness.postgres import NOTHING
from harness.standby import replication, wait_for_standby
from harness.waiting import sleep, wait_until

WRITERS, READERS = 16, 8
# Between two requests of a reader: the machine has time for others also while each response comes at once.
PAUSE = 0.01
# Writes acknowledged between two kills.
BETWEEN = 50
TERMINATIONS = 10
# Until the service suspects a silent host and probes it: a request's deadline, and a moment.
SUSPICION_SECONDS = 3
# Commits that are acknowledged before they are on the disk, where they are 0.6 s later.
NOT_DURABLE = {"synchronous_commit": "off"}
# The writes whose responses are lost are on the disk then.
LOST_SECONDS = 0.7
# Without the service's own deadline.
PATIENT = {"DATABASE_TIMEOUT_SECONDS": "30"}
# From primary to standby.
DISTANCE_SECONDS = 0.05
SLOWER_BY, CLIENTS = 3, 32
DEADLINE_SECONDS, NORMAL_SECONDS = 2, 0.25
LOCK_PATIENCE = 10
# A statement then waits for a lock until its own timeout.
NO_LOCK_TIMEOUT = "ALTER ROLE cruddur_service SET lock_timeout TO 0"
# As the service's own deadline, which then ends the wait first.
STATEMENT_TIMEOUT = "ALTER ROLE cruddur_service SET statement_timeout TO '{}'"
# As if others had taken the slots: a new connection is refused by the same SQLSTATE, 53300.
NO_SLOT = "ALTER ROLE cruddur_service CONNECTION LIMIT {}"
WAITING = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%%' AND wait_event_type = 'Lock'"


@drill("postgres-killed", "commits that wait for the disk, and Idempotency-Keys (here neither)", is_short=True, times=2)
def killed(*, broken: bool, times: int = 20) -> Figures:
    """Kill the postmaster (-9) 20 times under 16 writers with keys, every second time with its last answers lost."""
    with environment(options=NOT_DURABLE if broken else NOTHING, proxied=True) as env:
        writers = Writers(env.people, keyed=not broken)
        with load(env.url, WRITERS, writers.write):
            for turn in range(times):
                writers.wait_for(BETWEEN)
                if turn % 2:
                    env.network.drop_responses()
                    time.sleep(LOST_SECONDS)
                env.cluster.kill()
                env.network.reset()
                env.cluster.start()
                env.network.recover()
            writers.wait_for(BETWEEN)
        yield from writers.lost_and_doubled(env)
        yield writers.neither_200_nor_503()


@drill(
    "outage",
    "probes of the database ten times a second, each of 2 s at most (here the host drops packets instead of "
    "refusing, and each probe hangs for `connect_timeout=30`)",
    is_short=True,
    lengths=(1,),
)
def outages(*, broken: bool, lengths: tuple[int, ...] = (1, 10, 35, 65)) -> Figures:
    """Stop Postgres for 1, 10, 35 and 65 s under 8 readers, and start it again."""
    with environment(words={"connect_timeout": "30"} if broken else NOTHING, proxied=True) as env:
        for seconds in lengths:
            with load(env.url, READERS, getting(env.page), pause=PAUSE) as answers:
                time.sleep(0.5)
                if broken:
                    # Its machine falls silent, and returns without its connections.
                    env.network.blackhole()
                    time.sleep(seconds + SUSPICION_SECONDS)
                    env.network.recover_for_new()
                    back = time.monotonic()
                else:
                    env.cluster.stop()
                    time.sleep(seconds)
                    back = env.cluster.start()
                first = answers.wait_for_ok(back)
            yield at_most(f"first 200 after {seconds} s", 2, first.ended - back, "s")


@drill("idle-terminated", "the check of each acquired connection (here the network drops its FIN)", is_short=True)
def terminated(*, broken: bool) -> Figures:
    """End all idle sessions by the server, ten times under 8 readers."""
    with environment(proxied=True) as env:
        if broken:
            env.network.drop_fin()
        with load(env.url, READERS, getting(env.page), pause=PAUSE) as answers:
            ended = 0
            for _ in range(TERMINATIONS):
                time.sleep(0.2)
                ended += env.terminate_sessions("state = 'idle'")
            time.sleep(0.2)
        yield none_of(f"failed of {len(answers):,} requests, {ended} sessions ended", answers.failed)
        yield at_most("slowest", 250, answers.slowest * 1000, "ms")


@drill(
    "postgres-down",
    "the circuit breaker, which a failed request opens (here the host drops packets instead of refusing, and no "
    "request fails: DATABASE_TIMEOUT_SECONDS is 30)",
    is_short=True,
    seconds=3,
)
def down(*, broken: bool, seconds: int = 6) -> Figures:
    """Kill the postmaster (-9) under 8 readers, and do not start it again."""
    with (
        environment(settings=PATIENT if broken else NOTHING, proxied=True) as env,
        load(env.url, READERS, getting(env.page), pause=PAUSE) as answers,
    ):
        time.sleep(0.5)
        if broken:
            env.network.blackhole()
        else:
            env.cluster.kill()
        begun = time.monotonic()
        with (
            load(env.url, 1, getting("/livez"), pause=PAUSE) as alive,
            load(env.url, 1, getting("/readyz"), pause=PAUSE) as ready,
        ):
            time.sleep(seconds)
            env.network.recover()
    later = answers.within(begun + 1, begun + seconds)
    yield at_most("p99 after the first second", 50, later.p99 * 1000, "ms")
    yield none_of(f"of {len(later):,} answers after that not 503", len(later) - later.with_status(503))
    yield none_of(f"/livez not 200, of {len(alive)}", alive.failed)
    unready = next((answer.ended - begun for answer in ready if answer.status == HTTPStatus.SERVICE_UNAVAILABLE), NEVER)
    yield at_most("/readyz says 503", 2, unready, "s")


@drill("standby-promoted", "commits that wait for the standby: `synchronous_standby_names` (here they do not)")
def promoted(*, broken: bool, seconds: float = 3) -> Figures:
    """Kill the primary (-9) under 16 writers with keys, and promote its standby, 50 ms away."""
    with replication() as (primary, standby, network):
        if not broken:
            # The primary acknowledges nothing that its standby does not have on its disk.
            primary.rows("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.rows("SELECT pg_reload_conf()")
            wait_for_standby(primary.cluster, "sync")
        network.delay(DISTANCE_SECONDS)
        ports = f"{primary.cluster.port},{standby.port}"
        words = {"host": f"{HOST},{HOST}", "port": ports, "target_session_attrs": "read-write"}
        with serving(make_conninfo(primary.database_url, **words)) as service:
            writers = Writers(primary.people)
            with load(service.url, WRITERS, writers.write):
                time.sleep(seconds)
                primary.cluster.kill()
                # With everything that was on its way.
                network.reset()
                standby.rows("SELECT pg_promote()")
                promotion = time.monotonic()
                first = writers.answers.wait_for_ok(promotion)
                writers.wait_for(WRITERS)
            yield from writers.lost_and_doubled(Postgres(standby, primary.people))
            yield at_most("first write after the promotion", 5, first.ended - promotion, "s")
            yield writers.neither_200_nor_503()


# The short form too is longer than a request may take.
@drill(
    "swallowed",
    "the deadline of 2 s for all queries of a request (here DATABASE_TIMEOUT_SECONDS is 30)",
    is_short=True,
    seconds=6,
)
def blackholed(*, broken: bool, seconds: int = 8) -> Figures:
    """Drop all packets to and from Postgres for 8 s, refusing none, under 16 readers and 16 writers with keys."""
    with environment(settings=PATIENT if broken else NOTHING, proxied=True) as env:
        writers = Writers(env.people)
        with load(env.url, WRITERS, getting(env.page), pause=PAUSE) as read, load(env.url, WRITERS, writers.write):
            time.sleep(0.5)
            env.network.blackhole()
            begun, again = sleep(seconds)
            env.network.recover()
            writers.wait_for(WRITERS)
            first = writers.answers.wait_for_ok(again)
        answers = Answers([*read, *writers.answers]).within(begun, again)
        yield at_most(f"slowest of {len(answers):,} requests meanwhile", 5, answers.slowest, "s")
        yield none_of("answers that are neither 200 nor 503", answers.neither_200_nor_503())
        yield at_most("first write after it", 2, first.ended - again, "s")
        yield from writers.lost_and_doubled(env)


@drill("slow", "the deadline, which opens the circuit breaker (here DATABASE_TIMEOUT_SECONDS is 30)", seconds=9)
def slow(*, broken: bool, seconds: float = 15) -> Figures:
    """Delay each answer of Postgres by 3 s for 15 s, under 32 readers without a pause."""
    with environment(settings=PATIENT if broken else NOTHING, proxied=True) as env:
        with load(env.url, CLIENTS, getting(env.page)) as answers:
            time.sleep(1)
            env.network.delay(SLOWER_BY)
            begun, again = sleep(seconds)
            env.network.recover()
            first = answers.wait_for_ok(again, limit=NORMAL_SECONDS)
            time.sleep(1)
        meanwhile = Answers(answer for answer in answers if begun <= answer.sent < again)
        early, late = (meanwhile.within(start, start + seconds / 3) for start in (begun, again - seconds / 3))
        what = f"slowest of {len(meanwhile):,} requests meanwhile"
        yield at_most(what, DEADLINE_SECONDS + 0.5, meanwhile.slowest, "s")
        yield none_of("not 503", len(meanwhile) - meanwhile.with_status(503))
        yield at_most("slowest of the last third, of that of the first", 1, late.slowest / early.slowest, "times")
        yield at_most("first 200 in under 250 ms after it", 2, first.ended - again, "s")


@drill(
    "statement-timeout",
    "Postgres' statement timeout of 1.8 s, before the deadline of 2 s (here both are 2 s)",
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
                database.locked(),
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
    # The purge's sessions would wait for the lock too, and their end would free the slot.
    with environment(command=without("idle-probe", when=broken)) as env, env.unpurged():
        before = env.sessions()
        env.rows(NO_SLOT.format(len(before) - 1))
        with env.locked(), load(env.url, 1, getting(env.page)):
            # A session that waits for a lock has a request's statement.
            wait_until(lambda: env.terminate_sessions("wait_event_type = 'Lock'"), "a wait for the lock", LOCK_PATIENCE)
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
                    wait_until(lambda: database.rows(WAITING), "ALTER TABLE's wait for its lock", LOCK_PATIENCE)
                    begun, ended = sleep(seconds)
                alter.join()
                first = readers.wait_for_ok(ended)
            lost = before - database.sessions()
    yield at_least("requests refused by 503", 1, readers.with_status(503), "of them")
    yield at_most("slowest meanwhile", 2.5, readers.within(begun, ended).slowest, "s")
    yield none_of("answers that are neither 200 nor 503", readers.neither_200_nor_503())
    yield none_of(f"/livez not 200, of {len(alive):,}", alive.failed)
    yield none_of(f"lost of {len(before)} connections", len(lost))
    yield at_most("first 200 after the long reader's end", 2, first.ended - ended, "s")
