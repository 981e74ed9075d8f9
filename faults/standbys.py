"""A standby is late or away, under clients that send back `Cruddur-Seen`."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import NamedTuple

from psycopg.conninfo import make_conninfo

from faults.drill import Figures, at_least, at_most, drill, none_of
from faults.unprotected import without
from harness.environment import Person, Postgres, postgres, serving
from harness.load import Answer, Answers, Client, load
from harness.postgres import Cluster
from harness.proxy import Proxy, proxy
from harness.standby import standby_of, wait_for_standby
from harness.waiting import wait_until

# Each writer and each reader has a user of its own.
WRITERS, READERS = 8, 8
DISTANCE_SECONDS, LATE_SECONDS, PATIENCE = 0.05, 10, 600
# Between two reads of a reader.
PAUSE = 0.002
# A silent standby costs a request 1.5 s, and the primary has the rest.
SLOWEST_SECONDS = 2.5
PREFIX = "a drill's message"
NUMBER = re.compile(rf"{PREFIX} (\d+)".encode())


class Session:
    """A client that sends back the `Cruddur-Seen` of its last response."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.profile = f"/api/activities/@{person.handle}"
        self.newest = -1
        self.seen = ""

    def ask(self, client: Client, method: str, path: str, token: str, body: bytes | None = None) -> Answer:
        """Send a request."""
        answer = client.ask(method, path, token, body, {"Cruddur-Seen": self.seen} if self.seen else {})
        self.seen = answer.seen or self.seen
        return answer


class Sessions:
    """Writers who read their own profiles back, and readers of those profiles. For many threads."""

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
            person = self._people[len(self._sessions) % WRITERS]
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

    def figures(self, when: str, share: int = 0) -> Figures:
        """Yield the figures since the last call. `share` is the least percentage of reads by the standby."""
        with self._lock:
            writes, reads, missed, went_back = self.writes, self.reads, self.missed, self.went_back
            self.writes, self.reads, self.missed, self.went_back = Answers(), Answers(), 0, 0
        yield none_of(f"{when}: own posts missed of {len(writes) // 2:,}", missed)
        yield none_of(f"{when}: reads that went back in time of {len(reads):,}", went_back)
        yield none_of(f"{when}: failed of {len(writes) + len(reads):,} requests", writes.failed + reads.failed)
        yield at_most(f"{when}: slowest request", SLOWEST_SECONDS, max(writes.slowest, reads.slowest), "s")
        if share:
            by_standby = sum(answer.by_standby for answer in reads) / max(1, len(reads))
            yield at_least(f"{when}: reads by the standby", share, by_standby * 100, "%")


class Replicated(NamedTuple):
    """A primary, its standby, the network between them, and the clients."""

    primary: Postgres
    standby: Cluster
    network: Proxy
    sessions: Sessions

    def wait_for(self, writes: int, reads: int) -> None:
        """Wait for so many posts and reads. Raises `CommandError`."""
        wait_until(
            lambda: len(self.sessions.writes) >= 2 * writes and len(self.sessions.reads) >= reads,
            "the clients' requests",
            PATIENCE,
        )


@contextmanager
def replicated(broken: str) -> Iterator[Replicated]:
    """Run a service over a primary and a standby, 50 ms away, under clients while this lasts.

    The service goes without the protection `broken`, if there is one.
    """
    with (
        postgres() as primary,
        proxy(primary.cluster.port) as network,
        standby_of(primary.cluster, network.port) as standby,
    ):
        network.delay(DISTANCE_SECONDS)
        url, sessions = primary.database_url, Sessions(primary.people)
        read_url = make_conninfo(url, port=standby.port)
        with (
            serving(url, without(broken, when=bool(broken)), READ_CONNECTION_URL=read_url) as service,
            load(service.url, WRITERS, sessions.write),
            load(service.url, READERS, sessions.read, pause=PAUSE),
        ):
            yield Replicated(primary, standby, network, sessions)


@drill(
    "standby-behind",
    "`Cruddur-Seen` and the floor of a second (here each response of the standby counts)",
    is_short=True,
    writes=100,
    reads=500,
)
def behind(*, broken: bool, writes: int = 5000, reads: int = 10_000) -> Figures:
    """Run a standby 50 ms away, and then 10 s, under clients that post, read back, and read what others post."""
    with replicated("seen" if broken else "") as run:
        run.wait_for(writes, reads)
        yield from run.sessions.figures("50 ms away", share=50)
        run.network.delay(LATE_SECONDS)
        time.sleep(LATE_SECONDS)
        yield from run.sessions.figures("becoming late")
        run.wait_for(writes // 10, reads // 10)
        yield from run.sessions.figures("10 s late")


@drill(
    "standby-gone",
    "the primary, which answers where the standby fails (here the failure is the client's)",
    is_short=True,
    seconds=2,
)
def gone(*, broken: bool, seconds: float = 10) -> Figures:
    """Stop the standby, kill it (-9), freeze it, and promote it, under the same clients."""
    with replicated("fallback" if broken else "") as run:
        standby = run.standby
        faults: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "stopped": (standby.stop, standby.start),
            "killed": (standby.kill, standby.start),
            "frozen": (standby.freeze, standby.thaw),
            "promoted": (lambda: standby.rows("SELECT pg_promote()"), lambda: None),
        }
        for what, (begin, end) in faults.items():
            wait_for_standby(run.primary.cluster, "async")
            time.sleep(seconds)
            begin()
            time.sleep(seconds)
            end()
            yield from run.sessions.figures(what)
