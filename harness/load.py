"""Clients that send one request after the other, and record each response."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from statistics import quantiles
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from harness.waiting import poll

BY_STANDBY = re.compile("db;dur=0.00,.*db;desc=standby")
# Longer than anything may take. A request that takes longer has failed.
TIMEOUT = 60.0
NEVER = float("inf")


class Answer(NamedTuple):
    """A response, or the failure to get one: the monotonic time of the request, and the seconds that it took.

    Without a response the status is 0, and `fault` has the reason. `seen` is its `Cruddur-Seen`, and `by_standby` says
    whether a standby alone has answered it.
    """

    sent: float
    seconds: float
    status: int
    body: bytes = b""
    fault: str = ""
    seen: str = ""
    by_standby: bool = False

    @property
    def ended(self) -> float:
        """The time of the response."""
        return self.sent + self.seconds

    @property
    def is_ok(self) -> bool:
        """Return whether the status is 200."""
        return self.status == HTTPStatus.OK

    @property
    def is_database_unavailable(self) -> bool:
        """Return whether the response is the 503 of a database that is away, too slow or full."""
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE and self.json() == ["service_unavailable"]

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)


# The answer that never comes.
NO_ANSWER = Answer(sent=NEVER, seconds=NEVER, status=0)


class Answers(list[Answer]):
    """Answers in the order of their ends, and their figures."""

    @property
    def failed(self) -> int:
        """The number of answers without status 200."""
        return sum(not answer.is_ok for answer in self)

    @property
    def slowest(self) -> float:
        """The seconds of the slowest; 0 without any."""
        return max((answer.seconds for answer in self), default=0.0)

    @property
    def p99(self) -> float:
        """The 99th percentile in seconds. Raises `StatisticsError` for fewer than two."""
        return quantiles((answer.seconds for answer in self), n=100, method="inclusive")[98]

    def with_status(self, *statuses: int) -> int:
        """Return the number of answers with one of these statuses."""
        return sum(answer.status in statuses for answer in self)

    def neither_200_nor_503(self) -> int:
        """Return the number of answers with another status, or none."""
        return len(self) - self.with_status(HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)

    def failed_or_slower_than(self, seconds: float) -> int:
        """Return the number of answers without status 200, or that took longer."""
        return sum(not answer.is_ok or answer.seconds > seconds for answer in self)

    def within(self, start: float, end: float = NEVER) -> "Answers":
        """Return those that ended from `start` on and were sent before `end`: also one that hung all the while."""
        return Answers(answer for answer in self if answer.ended >= start and answer.sent < end)

    def sent_after(self, start: float) -> "Answers":
        """Return those that were sent after `start`."""
        return Answers(answer for answer in self if answer.sent > start)

    def first_ok(self, since: float, limit: float = NEVER) -> Answer | None:
        """Return the first 200 that ended from `since` on and took at most `limit` seconds, if there is one yet."""
        first = None
        for answer in reversed(self):
            if answer.ended < since:
                break
            if answer.is_ok and answer.seconds <= limit:
                first = answer
        return first

    def wait_for_ok(self, since: float, *, limit: float = NEVER, patience: float = TIMEOUT) -> Answer:
        """Return the same, and wait for it. After `patience` seconds it is the answer that never comes."""
        return poll(lambda: self.first_ok(since, limit), patience) or NO_ANSWER


class Client:
    """A client with one connection to the server at `url`, kept until it fails."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(str(parts.hostname), parts.port, timeout=timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, token: str = "") -> Answer:
        """Get `path`, with an access token if there is one."""
        return self.ask("GET", path, token)

    def post(self, path: str, token: str, body: object, key: str = "") -> Answer:
        """Post `body` as JSON, with an Idempotency-Key if there is one."""
        return self.ask("POST", path, token, json.dumps(body).encode(), {"Idempotency-Key": key} if key else {})

    def ask(
        self, method: str, path: str, token: str = "", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request and wait for the response. A failure is an answer too: nothing is raised."""
        fields = {"Content-Type": "application/json", **(headers or {})}
        if token:
            fields["Authorization"] = f"Bearer {token}"
        sent = time.monotonic()
        try:
            # A server may respond to the head alone (RFC 9112, 9.5): the response is there, and the body not sent.
            with suppress(BrokenPipeError):
                self._connection.request(method, path, body, fields)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            self.close()
            return Answer(sent, time.monotonic() - sent, 0, fault=repr(error))
        by_standby = BY_STANDBY.search(response.headers.get("Server-Timing", "")) is not None
        seen = response.headers.get("Cruddur-Seen", "")
        return Answer(sent, time.monotonic() - sent, response.status, content, seen=seen, by_standby=by_standby)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()


Step = Callable[[Client], Answer]


def getting(path: str, token: str = "") -> Step:
    """Return the step that gets `path`."""
    return lambda client: client.get(path, token)


def fresh(step: Step) -> Step:
    """Return the step on a new connection each time."""

    def on_new_connection(client: Client) -> Answer:
        answer = step(client)
        client.close()
        return answer

    return on_new_connection


@contextmanager
def load(url: str, clients: int, step: Step, *, pause: float = 0.0, timeout: float = TIMEOUT) -> Iterator[Answers]:
    """Have so many clients take one step after the other while this lasts, with `pause` seconds between.

    The answers grow meanwhile, and are complete afterwards.
    """
    answers = Answers()
    ended = threading.Event()

    def work() -> None:
        with Client(url, timeout) as client:
            while not ended.is_set():
                answers.append(step(client))
                # Also without a pause: the others have a turn.
                ended.wait(pause)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def ask_repeatedly(url: str, step: Step, times: int, pause: float = 0.0, *, timeout: float = 10.0) -> Answers:
    """Return the answers to one client's steps, one after the other."""
    answers = Answers()
    with Client(url, timeout) as client:
        for _ in range(times):
            answers.append(step(client))
            time.sleep(pause)
    return answers


def get_repeatedly(url: str, path: str, times: int, pause: float = 0.0) -> Answers:
    """Return the answers to so many requests, each on a new connection."""
    return ask_repeatedly(url, fresh(getting(path)), times, pause)
