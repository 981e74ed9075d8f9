"""The log cannot be written: no request fails or waits for it, and the service stops as it does otherwise."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench.contestants import free_port
from faults.drill import Figure, at_most, none_of
from harness.environment import PROCESSES, SERVE, Ground, ground, serving
from harness.load import Answer, ended_within, getting, load, not_ok, p99
from harness.postgres import NOTHING
from harness.scene import READERS
from ops.command import ROOT

# How a shell sends what the service prints there.
HEALTHY = ""
STATES = {
    "a full device": ">/dev/full 2>&1",
    "a pipe whose reader is gone": "> >(:) 2>&1",
    "a pipe that is not read": "> >(exec sleep infinity) 2>&1",
}
TIMES, STOP_SECONDS = 2, 5
# Between the last request that counts and SIGTERM: all of them have been answered, unless they hang.
SETTLE_SECONDS = 0.5
# The same application, run by granian's own command, whose access log is written in the thread of each request.
GRANIAN = (ROOT / "bin" / "python", "-m", "granian", "serve:worker")
DIRECT = {
    "GRANIAN_INTERFACE": "wsgi",
    "GRANIAN_FACTORY": "true",
    "GRANIAN_LOG_ACCESS_ENABLED": "true",
    "GRANIAN_WORKERS": PROCESSES,
    "GRANIAN_BLOCKING_THREADS": "4",
    "GRANIAN_WORKERS_KILL_TIMEOUT": "5s",
}


def log_unwritable(seconds: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Read under load for so many seconds with each kind of log, and stop."""
    with ground() as postgres:
        answers, _ = measured(postgres, HEALTHY, seconds, broken=broken)
        usual = p99(answers)
        for state, redirection in STATES.items():
            answers, stop = measured(postgres, redirection, seconds, broken=broken)
            yield none_of(f"failed of {len(answers):,} requests, the log being {state}", not_ok(answers))
            yield at_most(f"p99, against {usual * 1000:.1f} ms with a file", TIMES, p99(answers) / usual, "times")
            yield at_most("stop", STOP_SECONDS, stop, "s")


def measured(postgres: Ground, redirection: str, seconds: int, *, broken: bool) -> tuple[Sequence[Answer], float]:
    """Return the answers of a service with that log, those that hung among them, and the seconds that its stop took."""
    page = f"/api/activities/@{postgres.people[0].handle}"
    port = free_port()
    settings = {"PORT": port, **({"GRANIAN_PORT": port, **DIRECT} if broken else NOTHING)}
    command = ["bash", "-c", f'exec "$0" "$@" {redirection}', *(GRANIAN if broken else SERVE)]
    with ExitStack() as stack:
        service = stack.enter_context(serving(postgres.url, command, **settings))
        with load(service.url, READERS, getting(page)) as answers:
            begun = time.monotonic()
            time.sleep(seconds)
            ended = time.monotonic()
            time.sleep(SETTLE_SECONDS)
            stopped = time.monotonic()
            stack.close()
            stop = time.monotonic() - stopped
    return ended_within(answers, begun, ended), stop
