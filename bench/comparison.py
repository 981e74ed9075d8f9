"""Compare candidates on the same data, by turns, for several rounds."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import isnan
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

import urllib3

from bench.chart import Bar
from bench.data import postmaster, tell
from bench.servers import Server, check_post, check_reads, environment, running
from harness.collector import collector_process
from harness.wrk import Request, Run, Sample, pgbench, write_requests, wrk
from ops.command import Database

CONNECTIONS = (16, 64)
WARM_UP_SECONDS = 1
HEADER = [
    *("server", "connections", "requests/s", "p50 ms", "p99 ms"),
    *("CPU µs/request", "Postgres' µs/request", "peak MB"),
]
FORMATS = {"rate": "{:,.0f}", "p50": "{:.2f}", "p99": "{:.1f}"} | dict.fromkeys(
    ("server_us", "postgres_us", "memory_mb"), "{:.0f}"
)


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
        return [Bar(panel, name, f"{number} connections", *rate(runs)) for (name, number), runs in self.samples.items()]

    def table(self) -> list[list[str]]:
        """Return the medians over the rounds."""
        return [HEADER, *([name, str(number), *figures(runs)] for (name, number), runs in self.samples.items())]


def ratio(ones: Sequence[Sample], others: Sequence[Sample]) -> float | None:
    """Return the median of the rounds' ratios. None when a figure is void."""
    if any(sample.faults for sample in (*ones, *others)):
        return None
    return median(one.rate / other.rate for one, other in zip(ones, others, strict=True))


def rate(samples: Sequence[Sample]) -> tuple[float, str]:
    """Return the median requests a second and its text: 0 and "void" when a figure is void."""
    if any(sample.faults for sample in samples):
        return 0, "void"
    return median(sample.rate for sample in samples), figures(samples)[0]


def figures(samples: Sequence[Sample]) -> list[str]:
    """Format the medians of the samples. A figure that does not apply is blank."""
    if faults := sorted({sample.faults for sample in samples if sample.faults}):
        return [f"void: {'; '.join(faults)}", *[""] * 5]
    medians = {name: median(getattr(sample, name) for sample in samples) for name in FORMATS}
    return ["" if isnan(value) else FORMATS[name].format(value) for name, value in medians.items()]


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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests"
        if candidate.server is None:
            path.write_text(candidate.script)
            yield partial(pgbench, environment(database), postgres, path)
        else:
            write_requests(candidate.requests, path)
            export = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector_url} if collector_url else {}
            with running(candidate.server, database, {**export, **candidate.settings}) as service:
                first = candidate.requests[0]
                check_post(service, database, first) if first.body else check_reads(service, database)
                yield partial(wrk, service, postgres, path)
