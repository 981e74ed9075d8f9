"""What has expired and is purged, a little all the time or very much at once, while people read."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from bench.data import unpurged
from faults.drill import Figure, at_most, none_of
from faults.writers import Writers
from harness.environment import Ground, ground, serving
from harness.load import ended_within, getting, load, not_ok, p99
from harness.processes import tree
from ops.command import Database

READERS, WRITERS, PAUSE = 8, 2, 0.01
# They are gone at the end: no commit waits for the disk.
OPTIONS = {"fsync": "off", "synchronous_commit": "off", "max_wal_size": "4GB"}
# Half of them replies to the others, in the order of their ends. Of few texts, whose trigrams are soon in the index.
ROWS = """
    WITH numbered AS (
        SELECT
            n, gen_random_uuid() AS uuid, author.uuid AS author_uuid,
            {expires_at} AS expires_at, 'about the plan of ' || n %% 100 AS message
        FROM generate_series(1, %s) AS n
        JOIN (SELECT users.uuid, row_number() OVER () AS number FROM users) AS author ON author.number = 1 + n %% 20
    )
    INSERT INTO activities (
        uuid, user_uuid, message, search_text, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at
    )
    SELECT
        numbered.uuid, numbered.author_uuid, numbered.message, numbered.message, parent.uuid, parent.author_uuid,
        now() - interval '2 days' + numbered.n * interval '1 us', COALESCE(parent.expires_at, numbered.expires_at)
    FROM numbered
    LEFT JOIN numbered AS parent ON parent.n = numbered.n - 1 AND numbered.n %% 2 = 0
"""
EXPIRED = "now() - interval '1 day' + n * interval '10 ms'"
A_SECOND = 40
SOON = f"now() + interval '5 s' + n * interval '1 s' / {A_SECOND}"
OLDEST = (
    "SELECT COALESCE(EXTRACT(epoch FROM now() - min(expires_at))::float8, 0) FROM activities WHERE expires_at <= now()"
)
LEFT = "SELECT count(*) FROM activities WHERE expires_at <= now()"
KEPT = "SELECT count(*), md5(string_agg(activities::text, ',' ORDER BY uuid)) FROM activities WHERE expires_at > now()"
TURN_SECONDS, OLDEST_SECONDS, BACKLOG_P99_MS = 5, 300, 100
GIVE_UP_SECONDS = 900


@contextmanager
def paused(postgres: Ground) -> Iterator[None]:
    """Keep the purge away."""
    with unpurged(Database("CONNECTION_URL", postgres.cluster.url())):
        yield


def steady_expiry(seconds: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Compare the readers' p99 while the purge runs with that while it is paused, in alternate turns."""
    spans: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    oldest = 0.0
    with ground() as postgres, serving(postgres.url) as service:
        page = f"/api/activities/@{postgres.people[0].handle}"
        postgres.rows(ROWS.format(expires_at=SOON), A_SECOND * seconds)
        end = time.monotonic() + seconds
        with (
            load(service.url, READERS, getting(page), pause=PAUSE) as answers,
            load(service.url, WRITERS, Writers(postgres.people).write, pause=1 / WRITERS),
        ):
            while time.monotonic() < end:
                for is_purged in (True, False):
                    with ExitStack() as stack:
                        if broken or not is_purged:
                            stack.enter_context(paused(postgres))
                        begun = time.monotonic()
                        time.sleep(TURN_SECONDS)
                        spans[is_purged].append((begun, time.monotonic()))
                    oldest = max(oldest, float(postgres.rows(OLDEST)[0][0]))
    p99s = {each: median(p99(ended_within(answers, *span)) for span in spans[each]) for each in spans}
    yield none_of(f"reads that failed, of {len(answers):,}", not_ok(answers))
    yield at_most(
        "the oldest expired activity, with the purge paused half of the time", OLDEST_SECONDS, oldest, "s old"
    )
    what = f"reads' p99 while it runs, against {1000 * p99s[False]:.1f} ms while it is paused"
    yield at_most(what, 1.1, p99s[True] / p99s[False], "times")


def backlog(activities: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Read while the purge is paused, and while it works."""
    with ground(options=OPTIONS) as postgres, serving(postgres.url) as service, ExitStack() as stack:
        page = f"/api/activities/@{postgres.people[0].handle}"
        with load(service.url, READERS, getting(page), pause=PAUSE) as answers:
            with paused(postgres):
                postgres.rows(ROWS.format(expires_at=EXPIRED), activities)
                postgres.rows("VACUUM (ANALYZE) activities")
                begun = time.monotonic()
                time.sleep(4 * TURN_SECONDS)
            if broken:
                stack.enter_context(paused(postgres))
            started = time.monotonic()
            while postgres.rows(LEFT) != [(0,)] and time.monotonic() - started < (30 if broken else GIVE_UP_SECONDS):
                time.sleep(0.2)
            ended = time.monotonic()
            left = int(postgres.rows(LEFT)[0][0])
    before, during = (p99(ended_within(answers, *span)) for span in ((begun, started), (started, ended)))
    yield none_of(f"reads that failed, of {len(answers):,}", not_ok(answers))
    yield none_of(f"expired activities left after {ended - started:.0f} s", left)
    # A backlog comes after the service was away for long. Its readers share two cores with the purge.
    what = f"reads' p99 meanwhile, {during / before:.2f} times that of before"
    yield at_most(what, BACKLOG_P99_MS, 1000 * during, "ms")


def purge_killed(activities: int, kills: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Kill all processes of the service at a random moment of the purge, and start it again, time after time."""
    dice = random.Random(4567)
    with ground(options=OPTIONS) as postgres, ExitStack() as stack:
        if broken:
            stack.enter_context(paused(postgres))
        postgres.rows(ROWS.format(expires_at=EXPIRED), activities)
        before = postgres.rows(KEPT)
        for _ in range(kills):
            with serving(postgres.url) as service:
                time.sleep(dice.uniform(0, 0.5))
                for pid in tree(service.pid):
                    os.kill(pid, signal.SIGKILL)
        with serving(postgres.url):
            deadline = time.monotonic() + (10 if broken else GIVE_UP_SECONDS)
            while postgres.rows(LEFT) != [(0,)] and time.monotonic() < deadline:
                time.sleep(0.1)
        yield none_of(f"expired activities kept after {kills} kills", int(postgres.rows(LEFT)[0][0]))
        yield none_of("live activities lost or changed", postgres.rows(KEPT) != before)
