"""Postgres is killed, is away, ends its sessions, or has a standby take over."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import make_conninfo

from faults.drill import Figures, at_most, drill, none_of
from faults.writers import Writers
from harness.environment import Environment, Postgres, environment, postgres, serving
from harness.load import NEVER, Answers, Client, getting, load
from harness.ports import HOST
from harness.postgres import NOTHING, Cluster, folder, running
from harness.proxy import Proxy, proxy
from harness.waiting import wait_until
from ops.command import home

WRITERS, READERS = 16, 8
# Between two requests of a reader: the machine has time for others also while each response comes at once.
PAUSE = 0.01
# Writes acknowledged between two kills.
BETWEEN = 50
TERMINATIONS = 10
# Until the service suspects a silent host and probes it: a request's deadline, and a moment.
SUSPICION_SECONDS = 3
TERMINATE = """
    SELECT pg_terminate_backend(pg_stat_activity.pid)
    FROM pg_stat_activity
    WHERE pg_stat_activity.usename = 'cruddur_service' AND pg_stat_activity.state = 'idle'
"""
# Commits that are acknowledged before they are on the disk, where they are 0.6 s later.
NOT_DURABLE = {"synchronous_commit": "off"}
# The writes whose responses are lost are on the disk then.
LOST_SECONDS = 0.7
# Without the service's own deadline.
PATIENT = {"DATABASE_TIMEOUT_SECONDS": "30"}
# From primary to standby.
DISTANCE_SECONDS, FOLLOW_SECONDS = 0.05, 30
STREAMING = (
    "SELECT pg_stat_replication.sync_state FROM pg_stat_replication WHERE pg_stat_replication.state = 'streaming'"
)


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
    "questions after the database ten times a second, each of 2 s at most (here the host falls silent instead "
    "of refusing, and `connect_timeout=30` lets each question hang)",
    is_short=True,
    lengths=(1,),
)
def outages(*, broken: bool, lengths: tuple[int, ...] = (1, 10, 35, 65)) -> Figures:
    """Stop Postgres for 1, 10, 35 and 65 s under 8 readers, and start it again."""
    with environment(words={"connect_timeout": "30"} if broken else NOTHING, proxied=True) as env:
        for seconds in lengths:
            with load(env.url, READERS, getting(env.page), pause=PAUSE) as answers:
                time.sleep(0.5)
                back = silence(env.network, seconds + SUSPICION_SECONDS) if broken else outage(env.cluster, seconds)
                first = answers.wait_for_ok(back)
            yield at_most(f"first 200 after {seconds} s", 2, first.ended - back, "s")


def outage(cluster: Cluster, seconds: int) -> float:
    """Stop Postgres for so long. Return the time of its first accepted connection."""
    cluster.stop()
    time.sleep(seconds)
    return cluster.start()


def silence(network: Proxy, seconds: int) -> float:
    """Have its machine fall silent, and return without its connections. Return the time of that."""
    network.blackhole()
    time.sleep(seconds)
    network.recover_for_new()
    return time.monotonic()


@drill(
    "idle-terminated",
    "the look at each connection before it is lent (here the network keeps the server's farewell to itself)",
    is_short=True,
)
def terminated(*, broken: bool) -> Figures:
    """End all idle sessions by the server, ten times under 8 readers."""
    with environment(proxied=True) as env:
        if broken:
            env.network.drop_fin()
        with load(env.url, READERS, getting(env.page), pause=PAUSE) as answers:
            ended = 0
            for _ in range(TERMINATIONS):
                time.sleep(0.2)
                ended += len(env.rows(TERMINATE))
            time.sleep(0.2)
        yield none_of(f"failed of {len(answers):,} requests, {ended} sessions ended", answers.failed)
        yield at_most("slowest", 250, answers.slowest * 1000, "ms")


@drill(
    "postgres-down",
    "the breaker that a request which fails opens (here the host falls silent instead of refusing, and none "
    "fails: DATABASE_TIMEOUT_SECONDS is 30)",
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
        alive, ready = health_checks(env, begun + seconds, timeout=seconds)
        env.network.recover()
    later = answers.within(begun + 1, begun + seconds)
    yield at_most("p99 after the first second", 50, later.p99 * 1000, "ms")
    yield none_of(f"of {len(later):,} answers after that not 503", len(later) - later.with_status(503))
    yield none_of(f"/livez not 200, of {len(alive)}", alive.failed)
    unready = next((answer.ended - begun for answer in ready if answer.is_database_unavailable), NEVER)
    yield at_most("/readyz says 503", 2, unready, "s")


def health_checks(env: Environment, end: float, *, timeout: float) -> tuple[Answers, Answers]:
    """Return the answers of /livez and of /readyz until then."""
    alive, ready = Answers(), Answers()
    with Client(env.url, timeout) as client:
        while time.monotonic() < end:
            alive.append(client.get("/livez"))
            ready.append(client.get("/readyz"))
            time.sleep(PAUSE)
    return alive, ready


@drill("standby-promoted", "commits that wait for the standby: `synchronous_standby_names` (here they do not)")
def promoted(*, broken: bool, seconds: float = 3) -> Figures:
    """Kill the primary (-9) under 16 writers with keys, and promote its standby, 50 ms away."""
    with postgres() as primary, proxy(primary.cluster.port) as network, standby_of(primary, network) as standby:
        if not broken:
            # The primary acknowledges nothing that its standby does not have on its disk.
            primary.rows("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.rows("SELECT pg_reload_conf()")
            wait_for_standby(primary, "sync")
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
                before = len(writers.acknowledged)
                standby.rows("SELECT pg_promote()")
                promotion = time.monotonic()
                first = writers.answers.wait_for_ok(promotion)
                writers.wait_for(WRITERS)
            moved = Postgres(standby, primary.people)
            yield none_of(f"lost of {before:,} writes acknowledged before", writers.lost(moved))
            yield writers.doubled(moved)
            yield at_most("first write after the promotion", 5, first.ended - promotion, "s")
            yield writers.neither_200_nor_503()


@contextmanager
def standby_of(primary: Postgres, network: Proxy) -> Iterator[Cluster]:
    """Run a standby that follows the primary by way of the network while this lasts."""
    with folder(home()) as own:
        standby = Cluster(own)
        source = make_conninfo(primary.cluster.url(dbname=""), port=network.port)
        primary.cluster.run("pg_basebackup", "-D", str(standby.data), "-d", source, "-R", "-X", "stream", "-c", "fast")
        with running(standby):
            wait_for_standby(primary, "async")
            yield standby


def wait_for_standby(primary: Postgres, state: str) -> None:
    """Wait until the standby follows in that state. Raises `CommandError`."""
    wait_until(lambda: primary.rows(STREAMING) == [(state,)], f"the standby's state {state}", FOLLOW_SECONDS)
