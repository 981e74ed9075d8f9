"""A race: contenders on the same data, in turn, several times over, and what each run found."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import isnan
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from bench.chart import Bar
from bench.servers import Contestant, check_same, environment, running
from bench.data import postmaster, tell
from harness.processes import Running
from harness.wrk import Request, Run, Sample, pgbench, write_requests, wrk
from ops.command import Database

CONNECTIONS = (16, 64)
WARM_UP_SECONDS = 1
HEADER = [
    *("contestant", "connections", "requests/s", "p50 ms", "p99 ms"),
    *("CPU µs/request", "Postgres' µs/request", "peak MB"),
]


class Given(NamedTuple):
    """How long to measure."""

    rounds: int
    seconds: int


class Entry(NamedTuple):
    """Who takes part: a contestant, or with a `script` pgbench; what it is asked, and what it is told besides."""

    name: str
    contestant: Contestant | None = None
    requests: Sequence[Request] = ()
    settings: Mapping[str, str] = MappingProxyType({})
    script: str = ""


Measure = Callable[[Run], Sample]
Check = Callable[[Running, Database], None]


@dataclass
class Race:
    """What was found, by name and connections, a sample a round; and how many requests each was sent in all."""

    samples: dict[tuple[str, int], list[Sample]]
    requests: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, connections: int, sample: Sample) -> None:
        """Take down a run."""
        self.samples[name, connections].append(sample)
        if sample.faults:
            tell(f"{name}, {connections} connections, is void: {sample.faults}")

    def ratios(self, one: str, other: str) -> list[float | None]:
        """How many times the requests of `other` does `one` answer: for each number of connections."""
        return [ratio(self.samples[one, number], self.samples[other, number]) for number in CONNECTIONS]

    def bars(self, panel: str) -> list[Bar]:
        """The requests a second, for the chart."""
        return [Bar(panel, name, f"{number} connections", *rate(runs)) for (name, number), runs in self.samples.items()]

    def table(self) -> list[list[str]]:
        """Medians over the rounds."""
        return [HEADER, *([name, str(number), *figures(runs)] for (name, number), runs in self.samples.items())]


def ratio(ones: Sequence[Sample], others: Sequence[Sample]) -> float | None:
    """The median of the rounds' ratios. None when a figure is void."""
    if any(sample.faults for sample in (*ones, *others)):
        return None
    return median(one.rate / other.rate for one, other in zip(ones, others, strict=True))


def rate(runs: Sequence[Sample]) -> tuple[float, str]:
    """The median requests a second, and how it is written: nothing, when a figure is void."""
    if any(sample.faults for sample in runs):
        return 0, "void"
    middle = median(sample.rate for sample in runs)
    return middle, f"{middle:,.0f}"


def figures(runs: Sequence[Sample]) -> list[str]:
    """The medians of runs as they are shown."""
    faults = sorted({sample.faults for sample in runs if sample.faults})
    if faults:
        return [f"void: {'; '.join(faults)}", *[""] * 5]
    formats = {"rate": "{:,.0f}", "p50": "{:.2f}", "p99": "{:.1f}"} | dict.fromkeys(
        ("server_us", "postgres_us", "memory_mb"), "{:.0f}"
    )
    medians = {name: median(getattr(sample, name) for sample in runs) for name in formats}
    return ["" if isnan(value) else formats[name].format(value) for name, value in medians.items()]


def race(database: Database, entries: Sequence[Entry], given: Given, check: Check = check_same) -> Race:
    """Run all in turn, and that for several rounds, each time beginning with another."""
    found = Race({(entry.name, number): [] for entry in entries for number in CONNECTIONS})
    for n in range(given.rounds):
        start = n % len(entries)
        for entry in (*entries[start:], *entries[:start]):
            tell(f"round {n + 1} of {given.rounds}: {entry.name}")
            with session(entry, database, check) as measure:
                warm = measure(Run(CONNECTIONS[0], WARM_UP_SECONDS, n))
                runs = {number: measure(Run(number, given.seconds, n)) for number in CONNECTIONS}
            for number, sample in runs.items():
                found.add(entry.name, number, sample)
            sent = sum(sample.requests for sample in (warm, *runs.values()))
            found.requests[entry.name] = found.requests.get(entry.name, 0) + sent
    return found


@contextmanager
def session(entry: Entry, database: Database, check: Check) -> Iterator[Measure]:
    """The contestant, up while this lasts, its answers checked: a function that measures it."""
    postgres = postmaster(database)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "asked"
        if entry.contestant is None:
            path.write_text(entry.script)
            yield partial(pgbench, environment(database), postgres, path)
        else:
            write_requests(entry.requests, path)
            with running(entry.contestant, database, entry.settings) as server:
                check(server, database)
                yield partial(wrk, server, postgres, path)
