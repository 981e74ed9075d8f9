"""The network to Postgres drops packets, or is slow."""

import time

from faults.database import PATIENT, PAUSE, WRITERS
from faults.drill import Figures, at_most, drill, none_of
from faults.writers import Writers
from harness.environment import environment
from harness.load import Answers, getting, load
from harness.postgres import NOTHING

SLOWER_BY, CLIENTS = 3, 32
DEADLINE_SECONDS, NORMAL_SECONDS = 2, 0.25


@drill(
    "swallowed",
    "the deadline for all that a request wants of the database, 2 s (here DATABASE_TIMEOUT_SECONDS is 30)",
    is_short=True,
    seconds=6,
)
def blackholed(*, broken: bool, seconds: int = 8) -> Figures:
    """Drop all packets to and from Postgres for 8 s, refusing none, under 16 readers and 16 writers with keys."""
    with environment(settings=PATIENT if broken else NOTHING, proxied=True) as env:
        writers = Writers(env.people)
        with (
            load(env.url, WRITERS, getting(env.page), pause=PAUSE) as read,
            load(env.url, WRITERS, writers.write),
        ):
            time.sleep(0.5)
            begun = time.monotonic()
            env.network.blackhole()
            time.sleep(seconds)
            env.network.recover()
            again = time.monotonic()
            writers.wait_for(WRITERS)
            first = writers.answers.wait_for_ok(again)
        answers = Answers([*read, *writers.answers]).within(begun, again)
        yield at_most(f"slowest of {len(answers):,} requests meanwhile", 5, answers.slowest, "s")
        yield none_of("answers that are neither 200 nor 503", answers.neither_200_nor_503())
        yield at_most("first write after it", 2, first.ended - again, "s")
        yield from writers.lost_and_doubled(env)


@drill("slow", "the deadline, and the breaker that it opens (here DATABASE_TIMEOUT_SECONDS is 30)", seconds=9)
def slow(*, broken: bool, seconds: float = 15) -> Figures:
    """Delay each answer of Postgres by 3 s for 15 s, under 32 readers without a pause."""
    with environment(settings=PATIENT if broken else NOTHING, proxied=True) as env:
        with load(env.url, CLIENTS, getting(env.page)) as answers:
            time.sleep(1)
            begun = time.monotonic()
            env.network.delay(SLOWER_BY)
            time.sleep(seconds)
            env.network.recover()
            again = time.monotonic()
            first = answers.wait_for_ok(again, limit=NORMAL_SECONDS)
            time.sleep(1)
        meanwhile = Answers(answer for answer in answers if begun <= answer.sent < again)
        early, late = (meanwhile.within(start, start + seconds / 3) for start in (begun, again - seconds / 3))
        what = f"slowest of {len(meanwhile):,} requests meanwhile"
        yield at_most(what, DEADLINE_SECONDS + 0.5, meanwhile.slowest, "s")
        yield none_of("not 503", len(meanwhile) - meanwhile.with_status(503))
        yield at_most("slowest of the last third, of that of the first", 1, late.slowest / early.slowest, "times")
        yield at_most("first 200 in under 250 ms after it", 2, first.ended - again, "s")
