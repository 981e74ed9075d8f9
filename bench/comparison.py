"""Compare candidates on the same data, by turns, for several rounds."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import isnan
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

import urllib3

from bench.chart import Bar
from bench.data import postmaster
from bench.servers import Server, check_post, check_reads, environment, running
from harness.collector import collector_process
from harness.commands import tell
from harness.processes import CLEAN
from harness.wrk import Request, Run, Sample, pgbench, wrk
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
    """A server with its requests and settings, or pgbench with a script."""

    name: str
    server: Server | None = None
    requests: Sequence[Request] = ()
    settings: Mapping[str, str] = MappingProxyType({})
    script: str = ""
    is_traced: bool = False


@dataclass
class Comparison:
    """Samples by candidate and connections, one a round. All requests of each candidate, and the exported ones."""

    samples: dict[tuple[str, int], list[Sample]]
    requests: Counter[str] = field(default_factory=Counter)
    exported: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, connections: int, sample: Sample) -> None:
        """Add the sample of a run."""
        self.samples[name, connections].append(sample)
        if sample.faults:
            tell(f"{name}, {connections} connections, is void: {sample.faults}")

    def ratios(self, one: str, other: str) -> list[float | None]:
        """Return the ratio of two candidates' rates for each number of connections."""
        return [ratio(self.samples[one, number], self.samples[other, number]) for number in CONNECTIONS]

    def bars(self, panel: str) -> list[Bar]:
        """Return the requests a second as bars of the chart."""
        bars = []
        for (name, number), samples in self.samples.items():
            is_void = any(sample.faults for sample in samples)
            value, text = (0, "void") if is_void else (median(each.rate for each in samples), figures(samples)[0])
            bars.append(Bar(panel, name, f"{number} connections", value, text))
        return bars

    def table(self) -> list[list[str]]:
        """Return the medians over the rounds."""
        return [
            ["server", "connections", *COLUMNS],
            *([name, str(number), *figures(runs)] for (name, number), runs in self.samples.items()),
        ]


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
    """Measure all candidates by turns. Each round begins with another."""
    comparison = Comparison({(each.name, number): [] for each in candidates for number in CONNECTIONS})
    for n in range(schedule.rounds):
        start = n % len(candidates)
        for candidate in (*candidates[start:], *candidates[:start]):
            tell(f"round {n + 1} of {schedule.rounds}: {candidate.name}")
            with collector_process() if candidate.is_traced else nullcontext() as url:
                with session(candidate, database, url) as measure:
                    warm_up = measure(Run(CONNECTIONS[0], WARM_UP_SECONDS, n))
                    samples = {number: measure(Run(number, schedule.seconds, n)) for number in CONNECTIONS}
                comparison.exported[candidate.name] += int(urllib3.request("GET", url).data) if url else 0
            for number, sample in samples.items():
                comparison.add(candidate.name, number, sample)
            comparison.requests[candidate.name] += sum(each.requests for each in (warm_up, *samples.values()))
    return comparison


@contextmanager
def session(candidate: Candidate, database: Database, collector_url: str | None) -> Iterator[Callable[[Run], Sample]]:
    """Run the candidate while this lasts, and check its responses. Yields the function that measures it."""
    postgres = postmaster(database)
    if candidate.server is None:
        yield partial(pgbench, CLEAN | environment(database), postgres, candidate.script)
        return
    export = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector_url} if collector_url else {}
    with running(candidate.server, database, {**export, **candidate.settings}) as service:
        first = candidate.requests[0]
        check_post(service, database, first) if first.body else check_reads(service, database)
        yield partial(wrk, service, postgres, candidate.requests)
