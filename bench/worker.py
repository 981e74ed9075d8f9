"""What a worker process holds after many requests, and how long bin/serve takes to its first answer."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import urllib3

from bench.servers import CRUDDUR, running
from bench.data import READS, kept, tell
from bench.comparison import CONNECTIONS, Given
from bench.report import Findings, at_most
from bench.scenarios import FEED, profiles, tokens
from harness.processes import Running, memory_mb, tree
from harness.wrk import Request, Run, write_requests, wrk
from lib.command_errors import CommandError
from ops.command import Database

EARLY, LATE = 1_000, 100_000


def worker(server: Database, given: Given) -> Findings:
    """Its memory after few requests and after many, and the time of a start."""
    database = kept(server, READS)
    start = median(start_seconds(database) for _ in range(given.rounds))
    asked = [*profiles()[: EARLY // 2], *(Request(FEED, each) for each in tokens(database)[: EARLY // 2])]
    tell(f"worker: {LATE:,} requests")
    with running(CRUDDUR, database, {"WEB_CONCURRENCY": "1"}) as service:
        send_each(service, asked)
        early = resident_mb(service)
        send_many(service, asked, LATE - EARLY)
        late = resident_mb(service)
    return Findings(
        title="A worker's memory, and the start",
        how=f"One worker, asked for profiles and for the home feed signed in; medians of {given.rounds} starts.",
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


def start_seconds(database: Database) -> float:
    """How long a start takes."""
    with running(CRUDDUR, database, {}) as service:
        return service.seconds


def resident_mb(server: Running) -> float:
    """What the worker holds: of the processes below the first the largest."""
    return max(memory_mb(pid) for pid in tree(server.pid)[1:])


def send_each(server: Running, asked: Sequence[Request]) -> None:
    """Ask each once. Raises `CommandError` unless all are answered with 200."""
    with urllib3.PoolManager(maxsize=CONNECTIONS[0]) as http, ThreadPoolExecutor(CONNECTIONS[0]) as pool:
        statuses = set(pool.map(lambda request: status(http, server, request), asked))
    if statuses != {HTTPStatus.OK}:
        raise CommandError(f"the service answers {statuses}")


def status(http: urllib3.PoolManager, server: Running, request: Request) -> int:
    """What one request is answered with."""
    headers = {"Authorization": f"Bearer {request.token}"} if request.token else {}
    return http.request("GET", server.url + request.path, headers=headers).status


def send_many(server: Running, asked: Sequence[Request], count: int) -> None:
    """Ask at random, so many times or a few more. Raises `CommandError` when one fails."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "asked"
        write_requests(asked, path)
        while count > 0:
            sample = wrk(server, None, path, Run(CONNECTIONS[0], seconds=5, seed=count))
            if sample.faults or not sample.requests:
                raise CommandError(f"the service fails: {sample.faults or 'no answer'}")
            count -= sample.requests
