"""One of the service's processes killed: what was in it is lost, and nothing else."""

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from faults.drill import Figure, at_most
from harness.environment import ground, serving
from harness.load import getting, load, not_ok
from harness.processes import Running, tree
from harness.rush import profiles
from harness.sockets import held_by
from lib.command_errors import CommandError

CLIENTS, PAUSE = 16, 0.002
REPLACED_SECONDS, GIVE_UP_SECONDS = 2, 10
BEFORE_SECONDS, AFTER_SECONDS = 1, 1


def worker_killed(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Kill it with SIGKILL, while all have requests."""
    with (
        ground() as postgres,
        serving(postgres.url) as service,
        load(service.url, CLIENTS, getting(profiles(postgres)[0]), pause=PAUSE) as answers,
    ):
        time.sleep(BEFORE_SECONDS)
        try:
            if broken:
                os.kill(service.pid, signal.SIGSTOP)
            lost, seconds = kill_one(service)
        finally:
            os.kill(service.pid, signal.SIGCONT)
        time.sleep(AFTER_SECONDS)
    what = f"failed of {len(answers):,} requests, with {lost} connections in the process"
    # A client that connects again at once may meet the socket of the process that is ending.
    yield at_most(what, 2 * lost, not_ok(answers), "requests")
    yield at_most("replaced, and the new process answers, after", REPLACED_SECONDS, seconds, "s")


def kill_one(service: Running) -> tuple[int, float]:
    """Kill a process. How many connections it had, and how many seconds later another answered in its place."""
    before = workers(service)
    port = port_of(service)
    victim = max(before, key=lambda pid: len(held_by(pid, port)))
    lost = len(held_by(victim, port))
    if not lost:
        raise CommandError("no process of the service has a connection")
    os.kill(victim, signal.SIGKILL)
    begun = time.monotonic()
    while time.monotonic() - begun < GIVE_UP_SECONDS:
        now = workers(service)
        if len(now) >= len(before) and any(answers(pid, port) for pid in now - before):
            return lost, time.monotonic() - begun
        time.sleep(0.01)
    return lost, math.inf


def workers(service: Running) -> set[int]:
    """The processes below the service's first."""
    return set(tree(service.pid)[1:])


def port_of(service: Running) -> int:
    """Where it listens."""
    return urlsplit(service.url).port or 0


def answers(pid: int, port: int) -> bool:
    """Whether a new connection comes to the process, which answers on it."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=1)) as connection, suppress(OSError, HTTPException):
        connection.request("GET", "/livez")
        ours = connection.sock.getsockname()[1]
        return ours in held_by(pid, port) and connection.getresponse().status == HTTPStatus.OK
    return False
