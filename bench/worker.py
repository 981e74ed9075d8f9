"""Measure a worker's memory after many requests, and the seconds from bin/serve's start to its first response."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from statistics import median

import urllib3

from bench.comparison import CONNECTIONS, Schedule
from bench.data import READS, get_or_create
from bench.report import Findings, at_most
from bench.requests import home, profiles
from bench.servers import CRUDDUR, running
from harness.commands import tell
from harness.postgres import unpurged
from harness.processes import Running, worker_memory_mb
from harness.wrk import Request, Run, wrk
from lib.command_errors import CommandError
from lib.conninfo import conninfo
from ops.command import Database

EARLY, LATE = 1_000, 100_000


def worker(server: Database, schedule: Schedule) -> Findings:
    """Measure the memory after few requests and after many, and the time of a start."""
    database = get_or_create(server, READS)
    requests = profiles(database)[: EARLY // 2] + home(database)[: EARLY // 2]
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


def send_each(service: Running, requests: Sequence[Request]) -> None:
    """Send each request once. Raises `CommandError` unless all responses are 200."""
    with urllib3.PoolManager(maxsize=CONNECTIONS[0]) as http, ThreadPoolExecutor(CONNECTIONS[0]) as threads:
        statuses = set(threads.map(lambda request: request.send(http, service.url).status, requests))
    if statuses != {HTTPStatus.OK}:
        raise CommandError(f"the service responds with {statuses}")


def send_many(service: Running, requests: Sequence[Request], count: int) -> None:
    """Send at least `count` requests, picked at random. Raises `CommandError` when one fails."""
    while count > 0:
        sample = wrk(service, None, requests, Run(CONNECTIONS[0], seconds=5, seed=count))
        if sample.faults or not sample.requests:
            raise CommandError(f"the service fails: {sample.faults or 'no response'}")
        count -= sample.requests
