"""Connections that send nothing: each is closed after the idle timeout, and others are served meanwhile."""

import time
from collections.abc import Iterator

from faults.drill import Figure, at_most, none_of
from faults.unprotected import without
from harness.environment import SERVE, ground, serving
from harness.load import slowest
from harness.raw_clients import ask_repeatedly, is_closed, raw_clients

CONNECTIONS, QUESTIONS = 1_100, 26
CLOSED_SECONDS = 30


def idle_connections(pause: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Open the connections, and ask how the service is, with so many seconds between."""
    with ground() as postgres, serving(postgres.url, without("server") if broken else SERVE) as service:
        opened = time.monotonic()
        with raw_clients(service.url, CONNECTIONS) as clients:
            answers = ask_repeatedly(service.url, "/livez", 2 if broken else QUESTIONS, pause)
            left = set(clients)
            while left and time.monotonic() - opened < CLOSED_SECONDS:
                left = {client for client in left if not is_closed(client)}
                time.sleep(0.05)
            closed = time.monotonic() - opened
    late = sum(not each.is_ok or each.seconds > 1 for each in answers)
    yield none_of(f"/livez not answered under 1 s, of {len(answers)}", late)
    yield at_most("slowest /livez", 1, slowest(answers), "s")
    yield none_of(f"of {CONNECTIONS:,} connections not closed", len(left))
    yield at_most("the last one closed after", CLOSED_SECONDS, closed, "s")
