"""Signed-in clients that send a body as slowly as they can: reads and health checks go on."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from socket import socket
from urllib.parse import urlsplit

from faults.drill import Figure, at_most, none_of
from faults.unprotected import without
from harness.environment import SERVE, Ground, Person, ground, serving
from harness.load import Answer, Client, not_ok, slowest, status_of
from harness.nginx import BEHIND, nginx
from harness.postgres import NOTHING
from harness.raw_clients import ask_repeatedly, connect, is_closed

SENDERS = 16
# Between two bytes of a body, and before a client that was refused comes again.
BYTE_SECONDS, AGAIN_SECONDS = 10, 1
POST, GET = "POST /api/activities", "GET /api/activities/notifications"
MESSAGE = {"message": "as usual", "ttl": "1-hour"}


def slow_bodies(questions: int, pause: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Send bodies slowly to the service alone, and ask for so much of each kind, with so many seconds between."""
    with ground() as postgres, serving(postgres.url, without("readers") if broken else SERVE) as service:
        reads, writes = asked(service.url, postgres, pause, 1 if broken else questions)
    yield from read_figures(reads)
    refused = status_of(writes, HTTPStatus.SERVICE_UNAVAILABLE)
    yield none_of(f"writes neither 200 nor 503, of {len(writes)} ({refused} of them 503)", not_ok(writes) - refused)
    yield at_most("slowest write", 2, slowest(writes), "s")


def slow_bodies_behind_nginx(questions: int, pause: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Send them to nginx, and ask for the same; `broken`: nginx passes on what comes as it comes."""
    changed = {"proxy_request_buffering on": "proxy_request_buffering off"} if broken else NOTHING
    with (
        ground() as postgres,
        serving(postgres.url, **BEHIND) as service,
        nginx(urlsplit(service.url).netloc, changed=changed) as front,
    ):
        reads, writes = asked(front.url, postgres, pause, questions)
    yield from read_figures(reads)
    yield none_of(f"writes not answered, of {len(writes)}", not_ok(writes))
    yield at_most("slowest write", 2, slowest(writes), "s")


Answers = Sequence[Answer]


def asked(url: str, postgres: Ground, pause: float, questions: int) -> tuple[dict[str, Answers], Answers]:
    """Return the answers to health checks and pages by their names, and to writes, while bodies come slowly."""
    author = postgres.people[0]
    paths = {"/livez": "/livez", "/readyz": "/readyz", "a profile": f"/api/activities/@{author.handle}"}
    with slow_senders(url, author):
        reads = {name: ask_repeatedly(url, path, questions, pause) for name, path in paths.items()}
        client = Client(url, timeout=10)
        writes = [client.post("/api/activities", author.token, MESSAGE) for _ in range(questions)]
        client.close()
    return reads, writes


def read_figures(reads: Mapping[str, Answers]) -> Iterator[Figure]:
    """Yield how many of each were not answered, and how long the slowest took."""
    for name, answers in reads.items():
        yield none_of(f"{name} not answered, of {len(answers)}", not_ok(answers))
        yield at_most(f"slowest of {name}", 2, slowest(answers), "s")


@contextmanager
def slow_senders(url: str, author: Person) -> Iterator[None]:
    """Have clients begin a POST and send a byte now and then, and as many begin a GET with a body, and send nothing."""
    ended = threading.Event()
    senders = [Sender(url, start, author.token) for start in (POST, GET) for _ in range(SENDERS)]

    def work() -> None:
        while not ended.wait(0.1):
            for sender in senders:
                sender.go_on()

    thread = threading.Thread(target=work)
    thread.start()
    # All of them are at work.
    time.sleep(AGAIN_SECONDS)
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for sender in senders:
            sender.close()


class Sender:
    """A client whose request is never whole. Refused, it comes again."""

    def __init__(self, url: str, start: str, token: str) -> None:
        self._url = url
        self._is_silent = start == GET
        self._head = (
            f"{start} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        ).encode()
        self._connection: socket | None = None
        self._next = 0.0

    def go_on(self) -> None:
        """Begin, send a byte, or notice that the server has closed the connection: whatever is due."""
        now = time.monotonic()
        if self._connection is not None and is_closed(self._connection):
            self.close()
            self._next = now + AGAIN_SECONDS
        if now < self._next:
            return
        self._next = now + BYTE_SECONDS
        # A server that is busy may not accept it in time.
        with suppress(OSError):
            if self._connection is None:
                self._connection = connect(self._url)
                self._connection.sendall(self._head)
            elif not self._is_silent:
                self._connection.sendall(b" ")

    def close(self) -> None:
        """Leave."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
