"""Instances that are told to stop while others take over: their clients are to notice nothing."""

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from faults.drill import Figure, at_most, none_of
from harness.balancer import Balancer, balancing
from harness.environment import Ground, ground, serving
from harness.load import Answer, Client, getting, load, not_ok
from harness.rush import profiles

STOP_SECONDS = 25
KEPT, FRESH, POSTING = 4, 3, 1
# New connections come slowly enough that the machine does not run out of ports for them.
PAUSE, FRESH_PAUSE = 0.01, 0.05
# Below those that connections get, or one of them could have an instance's port when it is to start.
PORTS = range(20_000, 32_000)


def handover(turns: int, drain: str, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Let one instance take over from the other so many times, each `drain` seconds after SIGTERM at the earliest."""
    ports = [quiet_port(), quiet_port()]
    with ground() as postgres, balancing(ports) as balancer, ExitStack() as instances:
        turning = Turning(postgres, balancer, ports, "0" if broken else drain, instances)
        turning.begin()
        page = getting(profiles(postgres)[0])
        with (
            load(balancer.url, KEPT, lambda client: repeated(client, page), pause=PAUSE) as kept,
            load(balancer.url, FRESH, lambda client: fresh(client, page), pause=FRESH_PAUSE) as reading,
            load(balancer.url, POSTING, lambda client: posted(client, postgres), pause=FRESH_PAUSE) as writing,
        ):
            slowest = max(turning.turn() for _ in range(turns))
    yield none_of(f"failed of {len(reading):,} GETs on connections of their own", not_ok(reading))
    yield none_of(f"failed of {len(writing):,} POSTs on connections of their own", not_ok(writing))
    yield none_of(f"failed of {len(kept):,} GETs on connections that are kept, after one repetition", not_ok(kept))
    yield at_most(f"the slowest of {turns} stops", STOP_SECONDS, slowest, "s")


class Turning:
    """Two places, of which one has the instance that serves, and the other gets its successor."""

    def __init__(
        self, postgres: Ground, balancer: Balancer, ports: list[str], drain: str, instances: ExitStack
    ) -> None:
        self._postgres = postgres
        self._balancer = balancer
        self._ports = ports
        # Of the logs.
        self._names = dict(zip(ports, ("service", "successor"), strict=True))
        self._drain = drain
        self._instances = instances
        self._serving = ExitStack()

    def begin(self) -> None:
        """Start an instance in the first place, and wait until it gets connections."""
        port = self._ports[0]
        # Stopped at the end, if it has not been before.
        self._serving = self._instances.enter_context(ExitStack())
        self._serving.enter_context(
            serving(self._postgres.url, name=self._names[port], first="/readyz", PORT=port, DRAIN_SECONDS=self._drain)
        )
        self._balancer.wait_for(port)

    def turn(self) -> float:
        """Start the successor and stop the one that served. How many seconds that took to stop."""
        predecessor = self._serving
        self._ports.reverse()
        self.begin()
        begun = time.monotonic()
        predecessor.close()
        return time.monotonic() - begun


def repeated(client: Client, step: Callable[[Client], Answer]) -> Answer:
    """Ask, and once more when the connection was closed meanwhile."""
    answer = step(client)
    return answer if answer.status else step(client)


def fresh(client: Client, step: Callable[[Client], Answer]) -> Answer:
    """Ask on a new connection."""
    answer = step(client)
    client.close()
    return answer


def posted(client: Client, postgres: Ground) -> Answer:
    """Write on a new connection."""
    author = random.choice(postgres.people)
    return fresh(client, lambda one: one.post("/api/activities", author.token, {"message": "hello", "ttl": "1-day"}))


def quiet_port() -> str:
    """A port that nobody has, nor gets unless they ask for it."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return str(port)
