"""Clients that ask as fast as they are answered, or with a pause, and keep note of each answer."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from statistics import quantiles
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# Longer than anything may take; what takes longer has failed.
TIMEOUT = 60.0
NEVER = float("inf")


class Answer(NamedTuple):
    """An answer, or what came of waiting for one: when it was asked for (monotonic), and how long it took.

    Without an answer the status is 0, and `fault` says why.
    """

    sent: float
    seconds: float
    status: int
    body: bytes = b""
    fault: str = ""

    @property
    def ended(self) -> float:
        """When it was there."""
        return self.sent + self.seconds

    @property
    def is_ok(self) -> bool:
        """Whether it is a 200."""
        return self.status == HTTPStatus.OK

    def json(self) -> Any:
        """What it says."""
        return json.loads(self.body)


class Client:
    """Somebody with a connection to the server at `url` that is kept, and made anew when it has failed."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(str(parts.hostname), parts.port, timeout=timeout)

    def get(self, path: str, token: str = "") -> Answer:
        """Ask for `path`, as whoever has the token."""
        return self.ask("GET", path, token)

    def post(self, path: str, token: str, body: object, key: str = "") -> Answer:
        """Send `body` as JSON, with an Idempotency-Key if one is given."""
        return self.ask("POST", path, token, json.dumps(body).encode(), {"Idempotency-Key": key} if key else {})

    def ask(
        self, method: str, path: str, token: str = "", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Ask, and wait. It raises nothing: a failure is an answer too."""
        said = {"Content-Type": "application/json", **(headers or {})}
        if token:
            said["Authorization"] = f"Bearer {token}"
        sent = time.monotonic()
        try:
            # Who is refused by the head of the request need not send its body: the answer is there (RFC 9112, 9.5).
            with suppress(BrokenPipeError):
                self._connection.request(method, path, body, said)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            self.close()
            return Answer(sent, time.monotonic() - sent, 0, fault=repr(error))
        return Answer(sent, time.monotonic() - sent, response.status, content)

    def close(self) -> None:
        """Let go of the connection; the next request makes another."""
        self._connection.close()


@contextmanager
def load(url: str, clients: int, step: Callable[[Client], Answer], *, pause: float = 0.0) -> Iterator[list[Answer]]:
    """So many clients that take one step after the other until this ends, with `pause` seconds between.

    The list grows meanwhile, in the order of the answers, and is complete afterwards.
    """
    answers: list[Answer] = []
    enough = threading.Event()

    def work() -> None:
        client = Client(url)
        while not enough.is_set():
            answers.append(step(client))
            # Also without a pause: the others have a turn.
            enough.wait(pause)
        client.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def getting(path: str, token: str = "") -> Callable[[Client], Answer]:
    """A step: to ask for `path`."""
    return lambda client: client.get(path, token)


def not_ok(answers: Sequence[Answer]) -> int:
    """How many are no 200."""
    return sum(not answer.is_ok for answer in answers)


def slowest(answers: Sequence[Answer]) -> float:
    """How long the longest took, in seconds; 0 of none."""
    return max((answer.seconds for answer in answers), default=0.0)


def p99(answers: Sequence[Answer]) -> float:
    """What 99 of 100 took at most, in seconds. Raises `StatisticsError` of fewer than two."""
    return quantiles((answer.seconds for answer in answers), n=100, method="inclusive")[98]


def ended_within(answers: Sequence[Answer], start: float, end: float) -> list[Answer]:
    """Those that ended from `start` on, and were asked for before `end`: what hung all the while is among them."""
    return [answer for answer in answers if answer.ended >= start and answer.sent < end]


def status_of(answers: Sequence[Answer], status: int) -> int:
    """How many have that status."""
    return sum(answer.status == status for answer in answers)


def wait_for_ok(answers: Sequence[Answer], since: float, *, within: float = NEVER, patience: float = TIMEOUT) -> Answer:
    """The first 200 that came after `since`, and took no longer than `within`; waited for so long.

    When there is none, it is one that never comes.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := first_ok(answers, since, within):
            return found
        time.sleep(0.01)
    return Answer(sent=NEVER, seconds=NEVER, status=0)


def first_ok(answers: Sequence[Answer], since: float, within: float = NEVER) -> Answer | None:
    """The first 200 that came after `since`, and took no longer than `within`, if there is one yet."""
    found = None
    # They are in the order of their ends.
    for answer in reversed(answers):
        if answer.ended < since:
            break
        if answer.is_ok and answer.ended >= since and answer.seconds <= within:
            found = answer
    return found
