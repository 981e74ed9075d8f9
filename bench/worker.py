"""Measure a worker's memory after many requests, and the seconds from bin/serve's start to its first response."""

from statistics import median

from bench.comparison import Schedule
from bench.data import READS, get_or_create
from bench.report import Findings
from bench.requests import PROFILES, signed_in
from bench.servers import CRUDDUR, running
from harness.commands import tell
from harness.figures import at_most
from harness.postgres import unpurged
from harness.processes import worker_memory_mb
from harness.wrk import Request, send_each, send_many
from lib.conninfo import conninfo
from ops.command import Database

EARLY, LATE = 1_000, 100_000


def worker(server: Database, schedule: Schedule) -> Findings:
    """Measure the memory after few requests and after many, and the time of a start."""
    database = get_or_create(server, READS)
    requests = [*map(Request, PROFILES[: EARLY // 2]), *signed_in("first page", EARLY // 2, database)]
    starts = []
    with unpurged(conninfo(database.url)):
        for _ in range(schedule.rounds):
            with running(CRUDDUR, database) as service:
                starts.append(service.seconds)
        tell(f"worker: {LATE:,} requests")
        with running(CRUDDUR, database, WEB_CONCURRENCY="1") as service:
            send_each(service, requests)
            early = worker_memory_mb(service.pid)
            send_many(service, requests, LATE - EARLY)
            late = worker_memory_mb(service.pid)
    start = median(starts)
    return Findings(
        title="A worker's memory, and the start",
        method=f"One worker, asked for profiles and for the home feed signed in; medians of {schedule.rounds} starts.",
        table=[
            ["what", "measured"],
            [f"MB after {EARLY:,} requests", f"{early:.1f}"],
            [f"MB after {LATE:,} requests", f"{late:.1f}"],
            ["seconds to the first 200", f"{start:.2f}"],
        ],
        ratios=[
            at_most(f"memory of a worker after {LATE:,} requests, against after {EARLY:,}", 1.05, [late / early]),
            at_most(f"memory of a worker after {LATE:,} requests", 90, [late], " MB"),
            at_most("start of bin/serve to the first 200", 1.5, [start], " s"),
        ],
        bars=[],
    )
