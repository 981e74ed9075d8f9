"""Requests whose clients have left before their turn: the service does not run them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from faults.drill import Figure, at_most, none_of
from harness.environment import Ground, ground, serving
from harness.load import Client, getting, load, wait_for_ok
from harness.raw_clients import raw_clients

CLIENTS = 100
# As nginx passes it on; without the setting it is not believed.
TRUSTED, IGNORED = {"TRUSTED_PROXIES": "1"}, {"TRUSTED_PROXIES": "0"}
WAIT_SECONDS = 5


def clients_gone(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Have the clients ask for a page whose table is locked, leave, and ask how the service is."""
    with ground() as postgres, serving(postgres.url, **(IGNORED if broken else TRUSTED)) as service:
        page = f"/api/activities/@{postgres.people[0].handle}"
        request = f"GET {page} HTTP/1.1\r\nHost: a\r\nX-Request-Start: t={time.time():.3f}\r\n\r\n".encode()
        with locked(postgres):
            with raw_clients(service.url, CLIENTS, request):
                pass
            client = Client(service.url)
            alive = client.get("/livez")
            client.close()
        released = time.monotonic()
        with load(service.url, 1, getting(page)) as answers:
            again = wait_for_ok(answers, released)
    yield none_of("/livez not answered", int(not alive.is_ok))
    yield at_most(f"/livez, asked after {CLIENTS} requests whose clients have left", WAIT_SECONDS, alive.seconds, "s")
    yield at_most("a page answered, once the table is free, after", 2, again.ended - released, "s")


@contextmanager
def locked(postgres: Ground) -> Iterator[None]:
    """Lock the table of activities against reads."""
    with psycopg.connect(postgres.cluster.url()) as connection:
        connection.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()
