"""Postgres is killed, is away, or ends its sessions."""

import time
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus

from faults.drill import Drill, Figure, at_most, none_of
from faults.writers import Writers
from harness.load import Client, ended_within, getting, load, not_ok, p99, slowest, status_of, wait_for_ok
from harness.postgres import NOTHING
from harness.scene import PAUSE, READERS, WRITERS, Scene, scene

# Writes acknowledged between two kills.
BETWEEN = 50
TERMINATIONS = 10
# Until a silent host is suspected, and asked: a request's deadline, and a moment.
SUSPICION_SECONDS = 3
TERMINATE = """
    SELECT pg_terminate_backend(pg_stat_activity.pid)
    FROM pg_stat_activity
    WHERE pg_stat_activity.usename = 'cruddur_service' AND pg_stat_activity.state = 'idle'
"""
# Commits that are acknowledged before they are on the disk, where they are 0.6 s later.
CARELESS = {"synchronous_commit": "off"}
# Answers that were lost are those of writes that were done.
UNHEARD_SECONDS = 0.7


def killed(times: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Kill the postmaster under writers; every second time its last answers are lost on the way."""
    with scene(options=CARELESS if broken else NOTHING) as stage:
        writers = Writers(stage.postgres.people, keyed=not broken)
        with load(stage.url, WRITERS, writers.write):
            for turn in range(times):
                writers.wait_for(BETWEEN)
                kill(stage, unheard=bool(turn % 2))
            writers.wait_for(BETWEEN)
        yield none_of(f"lost of {len(writers.acknowledged):,} acknowledged writes", writers.lost(stage.postgres))
        yield none_of("doubled", writers.doubled(stage.postgres))
        yield none_of("answers that are neither 200 nor 503", writers.odd())


def kill(stage: Scene, *, unheard: bool) -> None:
    """Kill Postgres and start it again; `unheard` are its last answers."""
    if unheard:
        stage.network.swallow_answers()
        time.sleep(UNHEARD_SECONDS)
    stage.cluster.kill()
    stage.network.cut()
    stage.cluster.start()
    stage.network.pass_on()


def outages(lengths: tuple[int, ...], broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Take Postgres away for so many seconds each, and see when readers have it again."""
    with scene(words={"connect_timeout": "30"} if broken else NOTHING) as stage:
        for seconds in lengths:
            with load(stage.url, READERS, getting(stage.page), pause=PAUSE) as answers:
                time.sleep(0.5)
                back = silence(stage, seconds + SUSPICION_SECONDS) if broken else outage(stage, seconds)
                first = wait_for_ok(answers, back)
            yield at_most(f"first 200 after {seconds} s", 2, first.ended - back, "s")


def outage(stage: Scene, seconds: int) -> float:
    """Stop Postgres for so long. When it accepted connections again."""
    stage.cluster.stop()
    time.sleep(seconds)
    return stage.cluster.start()


def silence(stage: Scene, seconds: int) -> float:
    """Have its machine fall silent, and come back knowing nothing of its connections. When it did."""
    stage.network.swallow()
    time.sleep(seconds)
    stage.network.pass_on_new()
    return time.monotonic()


def terminated(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """End the sessions that idle, again and again, under readers."""
    with scene() as stage:
        if broken:
            stage.network.swallow_farewells()
        with load(stage.url, READERS, getting(stage.page), pause=PAUSE) as answers:
            ended = 0
            for _ in range(TERMINATIONS):
                time.sleep(0.2)
                ended += len(stage.postgres.rows(TERMINATE))
            time.sleep(0.2)
        yield none_of(f"failed of {len(answers):,} requests, {ended} sessions ended", not_ok(answers))
        yield at_most("slowest", 250, slowest(answers) * 1000, "ms")


def down(seconds: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Kill Postgres and leave it away; what is said, how soon, and by what the service is seen to live."""
    settings = {"DATABASE_TIMEOUT_SECONDS": "30"} if broken else NOTHING
    with scene(settings=settings) as stage, load(stage.url, READERS, getting(stage.page), pause=PAUSE) as answers:
        time.sleep(0.5)
        if broken:
            stage.network.swallow()
        else:
            stage.cluster.kill()
        begun = time.monotonic()
        probe = Client(stage.url, timeout=seconds)
        alive, ready = [], []
        while time.monotonic() < begun + seconds:
            alive.append(probe.get("/livez"))
            ready.append(probe.get("/readyz"))
            time.sleep(PAUSE)
        stage.network.pass_on()
    later = ended_within(answers, begun + 1, begun + seconds)
    yield at_most("p99 after the first second", 50, p99(later) * 1000, "ms")
    yield none_of(
        f"of {len(later):,} answers after that not 503", len(later) - status_of(later, HTTPStatus.SERVICE_UNAVAILABLE)
    )
    yield none_of(f"/livez not 200, of {len(alive)}", not_ok(alive))
    unready = [answer for answer in ready if answer.status == HTTPStatus.SERVICE_UNAVAILABLE]
    yield at_most("/readyz says 503", 2, unready[0].ended - begun if unready else float("inf"), "s")


DRILLS = [
    Drill(
        "postgres-killed",
        "the postmaster killed (-9) 20 times under 16 writers with keys, every second time with its last answers lost",
        "commits that wait for the disk, and Idempotency-Keys (here neither)",
        partial(killed, 20),
        is_short=True,
        run_short=partial(killed, 2),
    ),
    Drill(
        "outage",
        "Postgres stopped for 1, 10, 35 and 65 s under 8 readers, and started again",
        "questions after the database ten times a second, each of 2 s at most (here the host falls silent instead of "
        "refusing, and `connect_timeout=30` lets each question hang)",
        partial(outages, (1, 10, 35, 65)),
        is_short=True,
        run_short=partial(outages, (1,)),
    ),
    Drill(
        "idle-terminated",
        "all sessions that idle ended by the server, ten times under 8 readers",
        "the look at each connection before it is lent (here the network keeps the server's farewell to itself)",
        terminated,
        is_short=True,
    ),
    Drill(
        "postgres-down",
        "the postmaster killed (-9) under 8 readers, and not started again",
        "the breaker that a request which fails opens (here the host falls silent instead of refusing, and none fails: "
        "DATABASE_TIMEOUT_SECONDS is 30)",
        partial(down, 6),
        is_short=True,
        run_short=partial(down, 3),
    ),
]
