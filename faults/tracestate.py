"""Requests whose `tracestate` is as long as it may be, while the collector hangs: what waits for it is bounded."""

from collections.abc import Iterator
from threading import Thread

from faults.collector_away import ENDLESS, collector, exporting
from faults.drill import Figure, at_most, none_of
from faults.http2 import resident
from harness.environment import ground, serving
from harness.load import Answer, Client, not_ok
from harness.postgres import NOTHING

CLIENTS, REQUESTS = 8, 1_500
WARM_UP_REQUESTS = 100
# W3C Trace Context: at most 32 members. The SDK takes values of up to 256 characters.
TRACESTATE = ",".join(f"vendor{number}={'x' * 256}" for number in range(32))
MORE_MB = 48


def tracestate(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Send them, and see what the service's processes hold."""
    with (
        ground() as postgres,
        collector("hanging") as endpoint,
        serving(postgres.url, **exporting(endpoint), **(ENDLESS if broken else NOTHING)) as service,
    ):
        path = f"/api/activities/@{postgres.people[0].handle}"
        ask(service.url, path, WARM_UP_REQUESTS)
        before = resident(service)
        answers = ask(service.url, path, REQUESTS)
        more = resident(service) - before
    yield none_of(f"of {len(answers):,} requests not answered", not_ok(answers))
    yield at_most(f"more memory of a worker, for a tracestate of {len(TRACESTATE):,} bytes", MORE_MB, more, "MB")


def ask(url: str, path: str, times: int) -> list[Answer]:
    """Return the answers to so many requests of each client."""
    answers: list[Answer] = []

    def work() -> None:
        client = Client(url)
        for _ in range(times):
            answers.append(client.ask("GET", path, headers={"traceparent": traceparent(), "tracestate": TRACESTATE}))
        client.close()

    threads = [Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def traceparent() -> str:
    """Return one that asks for its trace to be recorded."""
    return f"00-{'1' * 32}-{'1' * 16}-01"
