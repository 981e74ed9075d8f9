"""Expiry, deletion and the purge: activities are gone in time, and readers do not wait for it."""

import random
import time
from http import HTTPStatus
from statistics import median

from faults.activities import insert_activities, insert_thread
from faults.drill import Figures, at_most, drill, none_of
from faults.writers import Writers
from harness.environment import Postgres, environment, postgres, serving
from harness.load import Client, getting, load
from harness.postgres import THROWAWAY
from harness.processes import kill, tree
from harness.waiting import poll, sleep

PROTECTION = "the purge in each process of the service (here a session holds its lock)"
READERS, WRITERS, PAUSE = 8, 2, 0.01
# Half of the activities reply to the others, in the order of their ends.
HALF_REPLY = "CASE numbered.n %% 2 WHEN 0 THEN numbered.n - 1 END"
EXPIRED = "now() - interval '1 day' + n * interval '10 ms'"
PER_SECOND = 40
SOON = f"now() + interval '5 s' + n * interval '1 s' / {PER_SECOND}"
OLDEST = (
    "SELECT COALESCE(EXTRACT(epoch FROM now() - min(expires_at))::float8, 0) FROM activities WHERE expires_at <= now()"
)
LEFT = "SELECT count(*) FROM activities WHERE expires_at <= now()"
LIVE = "SELECT count(*), md5(string_agg(activities::text, ',' ORDER BY uuid)) FROM activities WHERE expires_at > now()"
TURN_SECONDS, OLDEST_SECONDS, BACKLOG_P99_MS = 5, 300, 100
PATIENCE = 900
SHAPES = {"all to one activity": "1", "each to the one before": "numbered.n - 1"}
TEXT = "a thread about quokkas"
DELETED_MS, GONE_SECONDS = 500, 5
PATHS = ("/api/activities/search?term=quokkas", "/api/activities/notifications")
LIVE_THREAD = f"SELECT count(*) FROM live_activities WHERE message = '{TEXT}'"


def left(database: Postgres) -> int:
    """Return the number of expired activities."""
    return int(database.rows(LEFT)[0][0])


@drill("thread-deletion", PROTECTION, is_short=True, replies=12_000)
def thread_deletion(*, broken: bool, replies: int = 100_000) -> Figures:
    """Delete a thread of 100,000 replies: all to one activity, and each to the one before."""
    with environment(options=THROWAWAY) as env, env.unpurged(when=broken):
        author = env.people[0]
        for shape, parent in SHAPES.items():
            what, root = f"{replies:,} replies, {shape}", insert_thread(env, replies, f"'{TEXT}'", parent)
            # Its own: the service closes one that idles for 5 s.
            with Client(env.url) as client:
                answer = client.ask("DELETE", f"/api/activities/{root}", author.token)
                ended = time.monotonic()
                status = client.get(f"/api/activities/@{author.handle}/status/{root}").status
            shown = status != HTTPStatus.NOT_FOUND
            yield none_of(f"{what}: not deleted, or shown after that", shown or not answer.is_ok)
            yield at_most(f"{what}: the deletion", DELETED_MS, 1000 * answer.seconds, "ms")
            poll(lambda: env.rows(LIVE_THREAD) == [(0,)], ended + GONE_SECONDS - time.monotonic(), pause=0.02)
            yield at_most(f"{what}: none live after", GONE_SECONDS, time.monotonic() - ended, "s")
            pages = [Client(env.url).get(path, author.token).json() for path in PATHS]
            remaining = sum(TEXT in activity["message"] for page in pages for activity in page)
            yield none_of(f"{what}: found in search or notifications then", remaining)


@drill("purge-killed", PROTECTION, is_short=True, activities=10_000, kills=3)
def purge_killed(*, broken: bool, activities: int = 100_000, kills: int = 20) -> Figures:
    """Kill all processes of the service (-9) 20 times at random, while 100,000 expired activities are purged."""
    dice = random.Random(4567)
    with postgres(options=THROWAWAY) as database, database.unpurged(when=broken):
        insert_activities(database, activities, expires_at=EXPIRED, parent=HALF_REPLY)
        before = database.rows(LIVE)
        for _ in range(kills):
            with serving(database.database_url) as service:
                time.sleep(dice.uniform(0, 0.5))
                kill(tree(service.pid))
        with serving(database.database_url):
            poll(lambda: left(database) == 0, 10 if broken else PATIENCE, pause=0.1)
        yield none_of(f"expired activities kept after {kills} kills", left(database))
        yield none_of("live activities lost or changed", database.rows(LIVE) != before)


@drill("steady-expiry", PROTECTION, seconds=40)
def steady_expiry(*, broken: bool, seconds: int = 600) -> Figures:
    """Have 40 activities a second expire for 10 minutes, under 8 readers and 2 writers."""
    spans: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    oldest = 0.0
    with environment() as env:
        insert_activities(env, PER_SECOND * seconds, expires_at=SOON, parent=HALF_REPLY)
        end = time.monotonic() + seconds
        with (
            load(env.url, READERS, getting(env.page), pause=PAUSE) as answers,
            load(env.url, WRITERS, Writers(env.people).write, pause=1 / WRITERS),
        ):
            while time.monotonic() < end:
                for is_purged in (True, False):
                    with env.unpurged(when=broken or not is_purged):
                        spans[is_purged].append(sleep(TURN_SECONDS))
                    oldest = max(oldest, float(env.rows(OLDEST)[0][0]))
    p99s = {each: median(answers.within(*span).p99 for span in spans[each]) for each in spans}
    yield none_of(f"reads that failed, of {len(answers):,}", answers.failed)
    what = "the oldest expired activity, with the purge paused half of the time"
    yield at_most(what, OLDEST_SECONDS, oldest, "s old")
    what = f"reads' p99 while it runs, against {1000 * p99s[False]:.1f} ms while it is paused"
    yield at_most(what, 1.1, p99s[True] / p99s[False], "times")


@drill("expired-backlog", PROTECTION, activities=20_000)
def backlog(*, broken: bool, activities: int = 1_000_000) -> Figures:
    """Purge 1,000,000 activities that have expired, under 8 readers."""
    with environment(options=THROWAWAY) as env, load(env.url, READERS, getting(env.page), pause=PAUSE) as answers:
        with env.unpurged():
            insert_activities(env, activities, expires_at=EXPIRED, parent=HALF_REPLY)
            before = answers.within(*sleep(4 * TURN_SECONDS))
        with env.unpurged(when=broken):
            begun = time.monotonic()
            poll(lambda: left(env) == 0, 30 if broken else PATIENCE, pause=0.2)
            ended, remaining = time.monotonic(), left(env)
    during = answers.within(begun, ended)
    yield none_of(f"reads that failed, of {len(answers):,}", answers.failed)
    yield none_of(f"expired activities left after {ended - begun:.0f} s", remaining)
    # A backlog comes after the service was away for long. Its readers share two cores with the purge.
    what = f"reads' p99 meanwhile, {during.p99 / before.p99:.2f} times that of before"
    yield at_most(what, BACKLOG_P99_MS, 1000 * during.p99, "ms")
