"""The drills of expiry, deletion and the purge: activities are gone in time, and readers do not wait for it."""

from functools import partial

from faults.backlog import backlog, purge_killed, steady_expiry
from faults.drill import Drill
from faults.thread_deletion import thread_deletion

PROTECTION = "the purge in each process of the service (here a session holds its lock)"

DRILLS = [
    Drill(
        "thread-deletion",
        "a thread of 100,000 replies deleted: all to one activity, and each to the one before",
        PROTECTION,
        partial(thread_deletion, 100_000),
        is_short=True,
        run_short=partial(thread_deletion, 12_000),
    ),
    Drill(
        "purge-killed",
        "all processes of the service killed (-9) 20 times at random, while 100,000 expired activities are purged",
        PROTECTION,
        partial(purge_killed, 100_000, 20),
        is_short=True,
        run_short=partial(purge_killed, 10_000, 3),
    ),
    Drill(
        "steady-expiry",
        "40 activities a second that expire for 10 minutes, under 8 readers and 2 writers",
        PROTECTION,
        partial(steady_expiry, 600),
    ),
    Drill(
        "expired-backlog",
        "1,000,000 activities that have expired, under 8 readers",
        PROTECTION,
        partial(backlog, 1_000_000),
    ),
]
