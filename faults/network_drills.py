"""The network to Postgres swallows what is sent, or is slow."""

import time
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus

from faults.drill import Drill, Figure, at_most, none_of
from faults.writers import Writers
from harness.load import ended_within, getting, load, slowest, status_of, wait_for_ok
from harness.postgres import NOTHING
from harness.scene import PAUSE, WRITERS, scene

SLOW_SECONDS, SLOWER_BY = 15, 3
CLIENTS = 32
# Without the service's own deadline.
PATIENT = {"DATABASE_TIMEOUT_SECONDS": "30"}
DEADLINE_SECONDS = 2
NORMAL_SECONDS = 0.25


def swallowed(seconds: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Let the network swallow everything, under readers and writers."""
    with scene(settings=PATIENT if broken else NOTHING) as stage:
        writers = Writers(stage.postgres.people)
        with (
            load(stage.url, WRITERS, getting(stage.page), pause=PAUSE) as read,
            load(stage.url, WRITERS, writers.write),
        ):
            time.sleep(0.5)
            begun = time.monotonic()
            stage.network.swallow()
            time.sleep(seconds)
            stage.network.pass_on()
            again = time.monotonic()
            writers.wait_for(WRITERS)
            first = wait_for_ok(writers.answers, again)
        answers = ended_within([*read, *writers.answers], begun, again)
        yield at_most(f"slowest of {len(answers):,} requests meanwhile", 5, slowest(answers), "s")
        answered = sum(status_of(answers, status) for status in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE))
        yield none_of("answers that are neither 200 nor 503", len(answers) - answered)
        yield at_most("first write after it", 2, first.ended - again, "s")
        yield none_of(f"lost of {len(writers.acknowledged):,} acknowledged writes", writers.lost(stage.postgres))
        yield none_of("doubled", writers.doubled(stage.postgres))


def slow(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Let each answer of Postgres's come 3 s later, under more clients than there are threads."""
    with scene(settings=PATIENT if broken else NOTHING) as stage:
        with load(stage.url, CLIENTS, getting(stage.page)) as answers:
            time.sleep(1)
            begun = time.monotonic()
            stage.network.delay(SLOWER_BY)
            time.sleep(SLOW_SECONDS)
            stage.network.pass_on()
            again = time.monotonic()
            first = wait_for_ok(answers, again, within=NORMAL_SECONDS)
            time.sleep(1)
        meanwhile = [answer for answer in answers if begun <= answer.sent < again]
        third = SLOW_SECONDS / 3
        early, late = (ended_within(meanwhile, start, start + third) for start in (begun, again - third))
        yield at_most(
            f"slowest of {len(meanwhile):,} requests meanwhile", DEADLINE_SECONDS + 0.5, slowest(meanwhile), "s"
        )
        yield none_of("not 503", len(meanwhile) - status_of(meanwhile, HTTPStatus.SERVICE_UNAVAILABLE))
        yield at_most("slowest of the last third, of that of the first", 1, slowest(late) / slowest(early), "times")
        yield at_most("first 200 in under 250 ms after it", 2, first.ended - again, "s")


DRILLS = [
    Drill(
        "swallowed",
        "all packets to and from Postgres swallowed for 8 s, not refused, under 16 readers and 16 writers with keys",
        "the deadline for all that a request wants of the database, 2 s (here DATABASE_TIMEOUT_SECONDS is 30)",
        partial(swallowed, 8),
        is_short=True,
        # Longer than a request may take.
        run_short=partial(swallowed, 6),
    ),
    Drill(
        "slow",
        "each answer of Postgres's 3 s later for 15 s, under 32 readers without a pause",
        "the deadline, and the breaker that it opens (here DATABASE_TIMEOUT_SECONDS is 30)",
        slow,
    ),
]
