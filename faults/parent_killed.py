"""The first process killed: those that it has started end too, and the service can be started again."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from faults.drill import Figure, at_most, none_of
from faults.unprotected import without
from faults.worker_killed import port_of, workers
from harness.environment import SERVE, ground, serving
from harness.processes import PROC, stat
from lib.command_errors import CommandError

ENDED_SECONDS, GIVE_UP_SECONDS = 5, 10


def parent_killed(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Kill it with SIGKILL, and start another on its port."""
    with ground() as postgres, ExitStack() as stack:
        service = stack.enter_context(serving(postgres.url, without("parent") if broken else SERVE))
        orphans = workers(service)
        os.kill(service.pid, signal.SIGKILL)
        killed = time.monotonic()
        while running(orphans) and time.monotonic() - killed < GIVE_UP_SECONDS:
            time.sleep(0.01)
        ended, left = time.monotonic() - killed, running(orphans)
        try:
            with serving(postgres.url, name="again", PORT=str(port_of(service))):
                started = True
        except CommandError:
            started = False
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    yield none_of(f"of {len(orphans)} workers that go on", len(left))
    yield at_most("the last one ended after", ENDED_SECONDS, ended, "s")
    yield none_of("starts on the port that fail", int(not started))


def running(pids: set[int]) -> set[int]:
    """Return those that run: a process that has ended may wait for its parent to notice."""
    found = set()
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            if (PROC / str(pid)).exists() and stat(pid)[0] != "Z":
                found.add(pid)
    return found
