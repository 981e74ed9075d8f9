"""The collector of traces away: nobody waits for it, and what it does not take is forgotten."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median

from bench.contestants import free_port
from bench.processes import started
from faults.cluster import NOTHING
from faults.drill import Figure, at_most
from faults.ground import Ground, ground, serving
from faults.overload import resident_mb
from faults.rush import profiles, rush
from faults.silent import refusing, silent
from ops import command
from ops.command import ROOT

ROUNDS, TURN_SECONDS, CONNECTIONS = 60, 1, 16
WARM_UP_SECONDS = 3
# Long enough for any queue to be full after the first half.
HALF_SECONDS = 15
STOP_SECONDS = 25
STATES = ("well", "down", "hanging")
AWAY = STATES[1:]
# A queue without a bound, or as good as that.
ENDLESS = {"OTEL_BSP_MAX_QUEUE_SIZE": "1000000"}


def collector_away(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Measure with the collector well, down and hanging, by turns; and what is kept meanwhile for one that hangs."""
    settings = ENDLESS if broken else NOTHING
    with ground() as postgres:
        yield from queue(postgres, settings)
        found = slowness(postgres, settings)
    well = median(found["well"])
    for state in AWAY:
        what = f"p99 with the collector {state}, against {well:.2f} ms with it well (medians of {ROUNDS} turns)"
        yield at_most(what, 1.05, median(found[state]) / well, "times")


def slowness(postgres: Ground, settings: Mapping[str, str]) -> dict[str, list[float]]:
    """By the collector's state, milliseconds of all but the slowest hundredth of requests, for each turn."""
    found: dict[str, list[float]] = {state: [] for state in STATES}
    paths = profiles(postgres)
    with ExitStack() as stack:
        services = {}
        for state in STATES:
            exported = exporting(stack.enter_context(collector(state)))
            services[state] = stack.enter_context(serving(postgres.url, name=state, **exported, **settings))
            rush(services[state].url, paths, CONNECTIONS, WARM_UP_SECONDS)
        # Short turns, so that whatever else the machine has to do is the same for all.
        for turn in range(ROUNDS):
            for state in STATES[turn % 3 :] + STATES[: turn % 3]:
                found[state].append(rush(services[state].url, paths, CONNECTIONS, TURN_SECONDS).p99)
    return found


def queue(postgres: Ground, settings: Mapping[str, str]) -> Iterator[Figure]:
    """What the processes hold as the spans go nowhere, and how long they take to stop then."""
    with collector("hanging") as endpoint:
        with serving(postgres.url, **exporting(endpoint), **settings) as service:
            paths = profiles(postgres)
            rush(service.url, paths, CONNECTIONS, HALF_SECONDS)
            half = resident_mb(service)
            rush(service.url, paths, CONNECTIONS, HALF_SECONDS)
            whole = resident_mb(service)
            begun = time.monotonic()
        seconds = time.monotonic() - begun
    yield at_most(
        f"memory after {2 * HALF_SECONDS} s with it hanging, against half of that", 1.1, whole / half, "times"
    )
    yield at_most("stop, with it hanging", STOP_SECONDS, seconds, "s")


@contextmanager
def collector(state: str) -> Iterator[str]:
    """A collector in that state, by its URL."""
    if state == "down":
        with refusing() as closed:
            yield f"http://127.0.0.1:{closed}"
    elif state == "hanging":
        with silent() as nobody:
            yield f"http://127.0.0.1:{nobody.port}"
    else:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        program = [sys.executable, "-m", "bench.collector", port]
        log = command.data_dir() / "collector.log"
        with started(program, url=url, environ=dict(os.environ), folder=ROOT, log=log):
            yield url


def exporting(endpoint: str) -> dict[str, str]:
    """What has the service export every request's spans there."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
