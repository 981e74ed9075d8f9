"""How the time of a read grows with the table: the service's own statements, on the database alone."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from threading import BoundedSemaphore

from bench.chart import Bar
from bench.data import COMMON, LARGE, RARE, SMALL, as_service, expired, kept, tell
from bench.comparison import Given
from bench.report import Findings, Ratio, at_most
from lib.db import Db
from lib.pagination import Cursor, Keyset, PageRequest
from ops.command import Database
from services.get_or_create_user import User
from services.home_activities import HomeActivities
from services.notifications_activities import NotificationsActivities
from services.search_activities import SearchActivities
from services.show_activity import ShowActivity
from services.user_activities import UserActivities

PAGE = PageRequest(20)
PANEL = "A read on the database, ms"
BASE, GROWN, OVER = f"{SMALL.activities:,}", f"{LARGE.activities:,}", f"{LARGE.activities:,}, newest expired"
# As many different parameters, and as often what has none.
TRIES = 200
# In the order of uuids, which are random.
PEOPLE = f"SELECT users.uuid, users.handle, users.display_name FROM users ORDER BY users.uuid LIMIT {TRIES}"
ACTIVITIES = f"""
    SELECT live_activities.uuid, live_activities.created_at, users.handle
    FROM live_activities JOIN users ON users.uuid = live_activities.user_uuid
    WHERE live_activities.reply_to_activity_uuid IS NULL
    ORDER BY live_activities.uuid
    LIMIT {TRIES}
"""
RARE_SEARCH, COMMON_SEARCH = "search, a term of 20", "search, a term of all"

Calls = Sequence[Callable[[], object]]


def growth(server: Database, given: Given) -> Findings:
    """Each read on few activities, on a hundred times as many, and where the newest of those have expired."""
    databases = {BASE: kept(server, SMALL), GROWN: kept(server, LARGE), OVER: expired(server)}
    tell("growth: the reads on each database")
    with ExitStack() as stack:
        calls = {
            size: calls_of(stack.enter_context(as_service(database)), database) for size, database in databases.items()
        }
        took = measure(calls, given.rounds)
    reads = list(calls[BASE])
    rows = [[read, *(f"{took[read, size]:.3f}" for size in databases)] for read in reads]
    bars = [Bar(PANEL, read, size, took[read, size], f"{took[read, size]:.2f}") for read in reads for size in databases]
    return Findings(
        title="Growth",
        how=f"Milliseconds a read, statement and driver, medians of {given.rounds * TRIES}. There are {SMALL.users:,} "
        f"and {LARGE.users:,} people, so each has the same number of activities.",
        table=[["read", *databases], *rows],
        ratios=[ratio for read in reads for ratio in ratios_of(read, took)],
        bars=bars,
    )


def calls_of(db: Db, database: Database) -> dict[str, Calls]:
    """Each read, for many people and activities that are there."""
    with database.connect() as connection:
        people = [User(*row) for row in connection.execute(PEOPLE.encode())]
        activities = connection.execute(ACTIVITIES.encode()).fetchall()
    home, user, show = HomeActivities(db), UserActivities(db), ShowActivity(db)
    notifications, search = NotificationsActivities(db), SearchActivities(db, BoundedSemaphore(1))
    places = [PageRequest(20, Cursor(backwards=False, keyset=Keyset(at, uuid).packed)) for uuid, at, _ in activities]
    return {
        "home": [partial(home.run, page_request=PAGE)] * TRIES,
        "home, further pages": [partial(home.run, page_request=place) for place in places],
        "profile": [partial(user.run, handle=person.handle, page_request=PAGE) for person in people],
        "status": [
            partial(show.run, handle=handle, activity_uuid=uuid, page_request=PAGE) for uuid, _, handle in activities
        ],
        "notifications": [partial(notifications.run, user=person, page_request=PAGE) for person in people],
        RARE_SEARCH: [partial(search.run, term=RARE, page_request=PAGE)] * TRIES,
        COMMON_SEARCH: [partial(search.run, term=COMMON, page_request=PAGE)] * TRIES,
    }


def measure(calls: dict[str, dict[str, Calls]], rounds: int) -> dict[tuple[str, str], float]:
    """The median milliseconds of each read on each database, which take turns."""
    took: dict[tuple[str, str], list[float]] = {}
    for round_ in range(rounds + 1):
        for size, reads in calls.items():
            for read, each in reads.items():
                times = [timed(call) for call in each]
                # The first round only warms.
                if round_:
                    took.setdefault((read, size), []).extend(times)
    return {key: median(times) for key, times in took.items()}


def timed(call: Callable[[], object]) -> float:
    """How many milliseconds a call takes."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3


def ratios_of(read: str, took: dict[tuple[str, str], float]) -> list[Ratio]:
    """What a read takes against what it takes on few activities."""
    grown, over = (took[read, size] / took[read, BASE] for size in (GROWN, OVER))
    limit = 3.5 if read in {RARE_SEARCH, COMMON_SEARCH} else 1.2
    return [
        at_most(f"{read}: {GROWN} activities against {BASE}", limit, [grown]),
        at_most(f"{read}: the same, 95 % of the newest 10,000 expired", 3, [over]),
    ]
