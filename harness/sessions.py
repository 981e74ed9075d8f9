"""Clients that send back `Cruddur-Seen`, and find what they must not miss."""

import re
import threading
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from harness.environment import Person
from harness.load import Answer, Answers, Client
from harness.waiting import wait_until

PATIENCE = 600
PREFIX = "a session's message"
NUMBER = re.compile(rf"{PREFIX} (\d+)".encode())


class Outcome(NamedTuple):
    """The requests of writers and of readers, own posts that a writer missed, and reads that went back in time."""

    writes: Answers
    reads: Answers
    missed: int
    went_back: int


class Session:
    """A client that sends back the `Cruddur-Seen` of its last response."""

    def __init__(self, person: Person) -> None:
        self.person = person
        # A page that no process keeps.
        self.profile = f"/api/activities/@{person.handle}?limit=19"
        self.newest = -1
        self.seen = ""

    def ask(self, client: Client, method: str, path: str, token: str, body: bytes | None = None) -> Answer:
        """Send a request."""
        answer = client.ask(method, path, token, body, {"Cruddur-Seen": self.seen} if self.seen else {})
        self.seen = answer.seen or self.seen
        return answer


class Sessions:
    """Writers who read their own profiles back, and readers of those profiles. For many threads.

    Each writer has a user of its own.
    """

    def __init__(self, people: Sequence[Person]) -> None:
        self.writes, self.reads = Answers(), Answers()
        self.missed = self.went_back = 0
        self._people = people
        self._lock = threading.Lock()
        self._sessions: dict[Client, Session] = {}
        self._numbers = count()

    def session(self, client: Client) -> Session:
        """Return the client's session. Reader n reads the profile of writer n."""
        with self._lock:
            person = self._people[len(self._sessions) % len(self._people)]
            return self._sessions.setdefault(client, Session(person))

    def write(self, client: Client) -> Answer:
        """Post, and read the profile."""
        session = self.session(client)
        token = session.person.token
        number = next(self._numbers)
        body = f'{{"message": "{PREFIX} {number}", "ttl": "1-day"}}'.encode()
        written = session.ask(client, "POST", "/api/activities", token, body)
        read = session.ask(client, "GET", session.profile, token)
        with self._lock:
            self.writes += (written, read)
            self.missed += written.is_ok and read.is_ok and str(number).encode() not in NUMBER.findall(read.body)
        return read

    def read(self, client: Client) -> Answer:
        """Read a profile, in turn with the user's token and without."""
        session = self.session(client)
        token = session.person.token if len(self.reads) % 2 else ""
        answer = session.ask(client, "GET", session.profile, token)
        newest = max(map(int, NUMBER.findall(answer.body)), default=-1)
        with self._lock:
            self.reads.append(answer)
            self.went_back += answer.is_ok and newest < session.newest
        session.newest = max(newest, session.newest)
        return answer

    def wait_for(self, writes: int, reads: int) -> None:
        """Wait for so many posts and reads since the last outcome. Raises `CommandError`."""
        wait_until(
            lambda: len(self.writes) >= 2 * writes and len(self.reads) >= reads, "the clients' requests", PATIENCE
        )

    def take(self) -> Outcome:
        """Return the outcome since the last call."""
        with self._lock:
            outcome = Outcome(self.writes, self.reads, self.missed, self.went_back)
            self.writes, self.reads, self.missed, self.went_back = Answers(), Answers(), 0, 0
        return outcome
