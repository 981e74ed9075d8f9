"""Measure how the time of a read grows with the table: the service's own statements, on the database alone."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from threading import BoundedSemaphore
from timeit import timeit

from bench.comparison import Schedule
from bench.data import COMMON, LARGE, RARE, SMALL, as_service, get_or_create, get_or_create_expired
from bench.report import Findings
from harness.chart import Bar
from harness.commands import tell
from harness.figures import at_most
from lib.db import Db
from lib.pagination import FIRST_PAGE, Cursor, Keyset, PageRequest
from ops.command import Database
from services.get_or_create_user import User
from services.home_activities import HomeActivities
from services.notifications_activities import NotificationsActivities
from services.search_activities import SearchActivities
from services.show_activity import ShowActivity
from services.user_activities import UserActivities

PANEL = "A read on the database, ms"
BASE, GROWN, EXPIRED = f"{SMALL.activities:,}", f"{LARGE.activities:,}", f"{LARGE.activities:,}, newest expired"
# Each read runs as often in a round, with as many different parameters if it has any.
TRIES = 200
# In the order of uuids, which are random.
USERS = f"""
    SELECT users.uuid, users.handle, users.display_name, users.cognito_user_id
    FROM users ORDER BY users.uuid LIMIT {TRIES}
"""
ACTIVITIES = f"""
    SELECT live_activities.uuid, live_activities.created_at, users.handle
    FROM live_activities JOIN users ON users.uuid = live_activities.user_uuid
    WHERE live_activities.reply_to_activity_uuid IS NULL
    ORDER BY live_activities.uuid
    LIMIT {TRIES}
"""

Calls = Sequence[Callable[[], object]]


def scaling(server: Database, schedule: Schedule) -> Findings:
    """Measure each read on few activities, on a hundred times as many, and where the newest of those have expired."""
    small, large = get_or_create(server, SMALL), get_or_create(server, LARGE)
    databases = {BASE: small, GROWN: large, EXPIRED: get_or_create_expired(server)}
    tell("growth: the reads on each database")
    with ExitStack() as stack:
        calls = {size: reads(stack.enter_context(as_service(each)), each) for size, each in databases.items()}
        times = measure(calls, schedule.rounds)
    ratios = []
    for read, row in times.items():
        limit = 3.5 if read.startswith("search") else 1.2
        ratios += [
            at_most(f"{read}: {GROWN} activities against {BASE}", limit, [row[GROWN] / row[BASE]]),
            at_most(f"{read}: the same, 95 % of the newest 10,000 expired", 3, [row[EXPIRED] / row[BASE]]),
        ]
    return Findings(
        title="Growth",
        method=f"Milliseconds a read, statement and driver, medians of {schedule.rounds * TRIES}. There are "
        f"{SMALL.users:,} and {LARGE.users:,} people, so each has the same number of activities.",
        table=[["read", *databases], *([read, *(f"{ms:.3f}" for ms in row.values())] for read, row in times.items())],
        ratios=ratios,
        bars=[Bar(PANEL, read, size, ms, f"{ms:.2f}") for read, row in times.items() for size, ms in row.items()],
    )


def reads(db: Db, database: Database) -> dict[str, Calls]:
    """Return the calls of each read, for many users and activities of the database."""
    with database.connect() as connection:
        users = [User(*row) for row in connection.execute(USERS.encode())]
        activities = connection.execute(ACTIVITIES.encode()).fetchall()
    home, profile, status = HomeActivities(db).run, UserActivities(db).run, ShowActivity(db).run
    notifications, search = NotificationsActivities(db).run, SearchActivities(db, BoundedSemaphore(1)).run
    pages = [PageRequest(20, Cursor(backwards=False, keyset=Keyset(at, uuid).packed)) for uuid, at, _ in activities]
    return {
        "home": [partial(home, page_request=FIRST_PAGE)] * TRIES,
        "home, further pages": [partial(home, page_request=page) for page in pages],
        "profile": [partial(profile, handle=user.handle, page_request=FIRST_PAGE) for user in users],
        "status": [
            partial(status, handle=handle, activity_uuid=uuid, page_request=FIRST_PAGE)
            for uuid, _, handle in activities
        ],
        "notifications": [partial(notifications, reader=user.sub, page_request=FIRST_PAGE) for user in users],
        "search, a term of 20": [partial(search, term=RARE, page_request=FIRST_PAGE)] * TRIES,
        "search, a term of all": [partial(search, term=COMMON, page_request=FIRST_PAGE)] * TRIES,
    }


def measure(calls: dict[str, dict[str, Calls]], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of each read on each database. The databases take turns."""
    times: dict[str, dict[str, list[float]]] = {read: {size: [] for size in calls} for read in calls[BASE]}
    for n in range(rounds + 1):
        for size, of_size in calls.items():
            for read, of_read in of_size.items():
                milliseconds = [timeit(call, number=1) * 1e3 for call in of_read]
                # The first round only warms up.
                times[read][size] += milliseconds if n else []
    return {read: {size: median(values) for size, values in row.items()} for read, row in times.items()}
