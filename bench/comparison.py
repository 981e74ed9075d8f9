"""Compare candidates on the same data, by turns, for several rounds."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import isnan
from statistics import median
from typing import NamedTuple

import urllib3

from bench.chart import Bar
from bench.data import postmaster
from bench.requests import sample
from bench.servers import BARE, CRUDDUR, EACH, Server, check, environment, request_lines, running
from harness.collector import collector_process
from harness.commands import tell
from harness.figures import Figure
from harness.postgres import unpurged
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

    @property
    def key(self) -> tuple[str, str]:
        """The name and the dress."""
        return self.name, self.dress


@dataclass
class Comparison:
    """Samples by name, dress and connections, one a round. The log lines and the traces that were lost of a candidate."""

    samples: dict[tuple[str, str, int], list[Sample]]
    lost_lines: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost_traces: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, key: tuple[str, str], connections: int, sample: Sample) -> None:
        """Add the sample of a run."""
        self.samples[*key, connections].append(sample)
        if sample.faults:
            tell(f"{', '.join(key)}, {connections} connections, is void: {sample.faults}")

    def ratios(self, dress: str, one: str, other: str) -> list[float | None]:
        """Return the ratio of two candidates' rates in a dress for each number of connections."""
        return [ratio(*(self.samples[name, dress, number] for name in (one, other))) for number in CONNECTIONS]

    def losses(self) -> list[Figure]:
        """Return how many log lines and traces of this service's requests were lost, by its dress."""
        lost = [("log lines", dress, self.lost_lines[CRUDDUR.name, dress]) for dress in self.dresses() if dress != BARE]
        lost += [("traces", dress, self.lost_traces[CRUDDUR.name, dress]) for dress in self.dresses() if dress == EACH]
        return [Figure(f"{what} lost, {dress}", "0", f"{count:,}", count == 0) for what, dress, count in lost]

    def dresses(self) -> list[str]:
        """Return the dresses in the order of the candidates."""
        return list(dict.fromkeys(dress for _, dress, _ in self.samples))

    def bars(self, panel: str) -> list[Bar]:
        """Return the requests a second as bars of the chart, a panel for each dress."""
        bars = []
        for (name, dress, number), samples in self.samples.items():
            is_void = any(sample.faults for sample in samples)
            value, text = (0, "void") if is_void else (median(each.rate for each in samples), figures(samples)[0])
            bars.append(Bar(f"{panel}, {dress}, requests a second", name, f"{number} connections", value, text))
        return sorted(bars, key=lambda bar: bar.panel)

    def table(self) -> list[list[str]]:
        """Return the medians over the rounds, and how far the rounds differ."""
        return [
            ["server", "dress", "connections", *COLUMNS, "rounds differ by"],
            *(
                [name, dress, str(number), *figures(runs), f"{spread(runs):.0%}"]
                for (name, dress, number), runs in self.samples.items()
            ),
        ]


def spread(samples: Sequence[Sample]) -> float:
    """Return how far the highest rate of the rounds is above the lowest, as a share of it."""
    rates = [sample.rate for sample in samples]
    return max(rates) / max(min(rates), 1) - 1


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
    comparison = Comparison({(*each.key, number): [] for each in candidates for number in CONNECTIONS})
    with unpurged(conninfo(database.url)):
        check_all(database, candidates)
        for n in range(schedule.rounds):
            start = n % len(candidates)
            for candidate in (*candidates[start:], *candidates[:start]):
                tell(f"round {n + 1} of {schedule.rounds}: {', '.join(candidate.key)}")
                measure(comparison, database, candidate, schedule.seconds, n)
    return comparison


def check_all(database: Database, candidates: Sequence[Candidate]) -> None:
    """Raise `CommandError` unless all servers give the same responses."""
    with collector_process() as url, running(CRUDDUR, database, name="reference") as reference:
        for candidate in candidates:
            if candidate.server:
                with running(candidate.server, database, candidate.dress, url) as service:
                    check(service, reference, sample(candidate.requests))


def measure(comparison: Comparison, database: Database, candidate: Candidate, seconds: int, n: int) -> None:
    """Add the samples of a round, and what was lost of its log and traces, which are whole once the server has ended."""
    runs = [Run(CONNECTIONS[0], WARM_UP_SECONDS, n), *(Run(number, seconds, n) for number in CONNECTIONS)]
    postgres = postmaster(database)
    if candidate.server is None:
        environ = CLEAN | environment(database)
        samples = [pgbench(environ, postgres, candidate.script, run) for run in runs]
    else:
        with nullcontext("") if candidate.dress == BARE else collector_process() as url:
            with running(candidate.server, database, candidate.dress, url) as service:
                samples = [wrk(service, postgres, candidate.requests, run) for run in runs]
            requests, lines = sum(each.requests for each in samples), request_lines(service.log)
            traces = int(urllib3.request("GET", url).data) if url else 0
        comparison.lost_lines[candidate.key] += max(0, requests - lines)
        comparison.lost_traces[candidate.key] += max(0, requests - traces)
    for run, each in zip(runs[1:], samples[1:], strict=True):
        comparison.add(candidate.key, run.connections, each)
