"""Compare candidates on the same data, by turns, for several rounds."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from statistics import median
from typing import NamedTuple

import urllib3

from bench.requests import sample
from bench.servers import BARE, CRUDDUR, EACH, Server, check, count_lines, environment, running
from harness.chart import Bar
from harness.collector import collector_process
from harness.commands import tell
from harness.figures import Figure
from harness.postgres import postmaster, unpurged
from harness.processes import CLEAN
from harness.wrk import Request, Run, Sample, pgbench, wrk
from lib.conninfo import conninfo
from ops.command import Database

CONNECTIONS = (16, 64)
WARM_UP_SECONDS = 1
# The columns of the table: a field of a sample, and its format.
COLUMNS = {
    "requests/s": ("rate", "{:,.0f}"),
    "p50 ms": ("p50", "{:.2f}"),
    "p99 ms": ("p99", "{:.1f}"),
    "CPU µs/request": ("server_us", "{:.0f}"),
    "Postgres' µs/request": ("postgres_us", "{:.0f}"),
    "peak MB": ("memory_mb", "{:.0f}"),
}


class Schedule(NamedTuple):
    """The number of rounds, and the seconds of a run."""

    rounds: int
    seconds: int


class Candidate(NamedTuple):
    """A server in a dress with its requests, or pgbench with a script."""

    name: str
    server: Server | None = None
    dress: str = BARE
    requests: Sequence[Request] = ()
    script: str = ""


@dataclass
class Comparison:
    """Samples by name, dress and connections, one a round, and what of this service's log and traces was lost."""

    samples: dict[tuple[str, str, int], list[Sample]]
    lost: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, dress: str, connections: int, sample: Sample) -> None:
        """Add the sample of a run."""
        self.samples[name, dress, connections].append(sample)
        if sample.faults:
            tell(f"{name}, {dress}, {connections} connections, is void: {sample.faults}")

    def count_lost(self, dress: str, requests: int, log: Path, traces: int) -> None:
        """Count what is missing of a session's requests. Those that a run's end cut off have lines and traces too."""
        self.lost[f"log lines lost, {dress}"] += max(0, requests - count_lines(log, b'"status":'))
        # The SDK's message, at most one a minute.
        self.lost[f"messages of dropped spans, {dress}"] += count_lines(log, b"Queue full, dropping")
        if dress == EACH:
            self.lost[f"traces lost, {dress}"] += max(0, requests - traces)

    def losses(self) -> list[Figure]:
        """Return the losses. None is wanted."""
        return [Figure(what, "0", f"{count:,}", count == 0) for what, count in self.lost.items()]

    def ratios(self, dress: str, one: str, other: str) -> list[float | None]:
        """Return the ratio of two candidates' rates in a dress for each number of connections."""
        return [ratio(*(self.samples[name, dress, number] for name in (one, other))) for number in CONNECTIONS]

    def bars(self, panel: str) -> list[Bar]:
        """Return the requests a second as bars of the chart, a panel for each dress. Without a panel there are none."""
        bars = []
        for (name, dress, number), samples in self.samples.items() if panel else ():
            is_void = any(sample.faults for sample in samples)
            value, text = (0, "void") if is_void else (median(each.rate for each in samples), figures(samples)[0])
            bars.append(Bar(f"{panel}, {dress}, requests a second", name, f"{number} connections", value, text))
        return sorted(bars, key=lambda bar: bar.panel)

    def table(self) -> list[list[str]]:
        """Return the medians over the rounds, and how far the rounds differ."""
        heading = ["server", "dress", "connections", *COLUMNS, "rounds differ by"]
        return [heading, *([*map(str, key), *figures(runs), spread(runs)] for key, runs in self.samples.items())]


def spread(samples: Sequence[Sample]) -> str:
    """Return how far the highest rate of the rounds is above the lowest."""
    rates = [sample.rate for sample in samples]
    return f"{max(rates) / min(rates) - 1:.0%}" if all(rates) else ""


def ratio(ones: Sequence[Sample], others: Sequence[Sample]) -> float | None:
    """Return the median of the rounds' ratios. None when a figure is void."""
    if any(sample.faults for sample in (*ones, *others)):
        return None
    return median(one.rate / other.rate for one, other in zip(ones, others, strict=True))


def figures(samples: Sequence[Sample]) -> list[str]:
    """Format the medians of the samples. A figure that does not apply is blank."""
    if faults := sorted({sample.faults for sample in samples if sample.faults}):
        return [f"void: {'; '.join(faults)}", *[""] * (len(COLUMNS) - 1)]
    medians = [(median(getattr(each, name) for each in samples), form) for name, form in COLUMNS.values()]
    return ["" if isnan(value) else form.format(value) for value, form in medians]


def compare(database: Database, candidates: Sequence[Candidate], schedule: Schedule) -> Comparison:
    """Check the responses of all candidates, and measure them by turns. Each round begins with another."""
    comparison = Comparison({(each.name, each.dress, number): [] for each in candidates for number in CONNECTIONS})
    with unpurged(conninfo(database.url)):
        with collector_process() as url, running(CRUDDUR, database, name="reference") as reference:
            for n, candidate in enumerate(candidates):
                if candidate.server:
                    with running(candidate.server, database, candidate.dress, url) as service:
                        check(service, reference, sample(candidate.requests, seed=n))
        for n in range(schedule.rounds):
            start = n % len(candidates)
            for candidate in (*candidates[start:], *candidates[:start]):
                tell(f"round {n + 1} of {schedule.rounds}: {candidate.name}, {candidate.dress}")
                measure(comparison, database, candidate, schedule.seconds, n)
    return comparison


def measure(comparison: Comparison, database: Database, candidate: Candidate, seconds: int, n: int) -> None:
    """Add the samples of a round. The server's log and traces are whole once it has ended."""
    postgres, (name, server, dress, requests, script) = postmaster(database), candidate
    runs = [Run(CONNECTIONS[0], WARM_UP_SECONDS, n), *(Run(number, seconds, n) for number in CONNECTIONS)]
    if server is None:
        samples = [pgbench(CLEAN | environment(database), postgres, script, run) for run in runs]
    else:
        with collector_process() if dress != BARE else nullcontext("") as url:
            with running(server, database, dress, url) as service:
                samples = [wrk(service, postgres, requests, run) for run in runs]
            traces = int(urllib3.request("GET", url).data) if url else 0
        if server == CRUDDUR and dress != BARE:
            comparison.count_lost(dress, sum(each.requests for each in samples), service.log, traces)
    for run, each in zip(runs[1:], samples[1:], strict=True):
        comparison.add(name, dress, run.connections, each)
