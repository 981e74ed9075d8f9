"""A service that may open few files, and more clients than that: accept(2) fails with EMFILE."""

import time
from collections.abc import Iterator

from faults.drill import Figure, at_most, none_of
from faults.unprotected import without
from harness.environment import SERVE, ground, serving
from harness.load import Answer, Client, ended_within, getting, load, not_ok
from harness.processes import tree
from harness.raw_clients import raw_clients

# The least that the service starts with.
LIMIT, CONNECTIONS = 256, 600
PATIENCE, BROKEN_PATIENCE = 30, 8
AFTER_SECONDS = 2


def open_files(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Hold the connections open until the service answers others again, then close them."""
    command = ("prlimit", f"--nofile={LIMIT}:{LIMIT}", *(without("server") if broken else SERVE))
    with ground() as postgres, serving(postgres.url, command) as service:
        page = f"/api/activities/@{postgres.people[0].handle}"
        before = tree(service.pid)
        with raw_clients(service.url, CONNECTIONS):
            opened = time.monotonic()
            meanwhile = ask_until_ok(service.url, BROKEN_PATIENCE if broken else PATIENCE)
        closed = time.monotonic()
        after = ask_until_ok(service.url, PATIENCE)
        with load(service.url, 4, getting(page), pause=0.01) as answers:
            time.sleep(AFTER_SECONDS)
        ended = set(before) - set(tree(service.pid))
    yield at_most(f"first 200 while {CONNECTIONS} connections are open", PATIENCE, meanwhile.ended - opened, "s")
    yield at_most("first 200 after they were closed", 2, after.ended - closed, "s")
    yield none_of(
        f"failed of {len(answers):,} requests after that", not_ok(ended_within(answers, closed, closed + PATIENCE))
    )
    yield none_of(f"of {len(before)} processes ended", len(ended))


def ask_until_ok(url: str, patience: float) -> Answer:
    """Return the first 200 of /livez, each time on a new connection; an answer that never comes when there is none."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        client = Client(url, timeout=1)
        answer = client.get("/livez")
        client.close()
        if answer.is_ok:
            return answer
        time.sleep(0.05)
    return Answer(sent=float("inf"), seconds=0, status=0)
