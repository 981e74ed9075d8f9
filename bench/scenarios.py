"""The comparisons: candidates on the same data, and the wanted ratios of their rates."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from bench import requests
from bench.comparison import CONNECTIONS, Candidate, Schedule, compare
from bench.data import READS, clone, get_or_create, named
from bench.report import Findings, at_least
from bench.servers import BARE, CRUDDUR, EACH, FASTAPI, FASTIFY, JOURNAL, TENTH, Server
from harness.commands import is_autogrouping
from harness.wrk import Request, pgbench_script
from lib.pagination import NEWEST
from lib.queries import PagedQuery, page_statement
from ops.command import Database
from ops.drop_database import drop
from services.home_activities import HOME
from services.user_activities import USER

PGBENCH = "pgbench"
PEOPLE, BY_USERS = f"{READS.users:,} people", f" By {requests.SIGNED_IN:,} people, picked at random."
COMMIT = "SELECT current_setting('fsync'), current_setting('synchronous_commit')"


class Target(NamedTuple):
    """The least ratio of one candidate's rate to another's in a dress, for the first `figures` of CONNECTIONS."""

    dress: str
    other: str
    ratio: float
    one: str = CRUDDUR.name
    figures: int = len(CONNECTIONS)


class Scenario(NamedTuple):
    """A comparison: servers in each of the dresses, and pgbench if it has a script; their requests; wanted ratios."""

    title: str
    requests: Callable[[Database], list[Request]]
    servers: Sequence[Server] = (CRUDDUR, FASTAPI)
    dresses: Sequence[str] = (TENTH,)
    targets: Sequence[Target] = ()
    # A panel of the chart, and a note on the method.
    panel: str = ""
    note: str = ""
    script: str = ""
    is_writing: bool = False

    def run(self, server: Database, schedule: Schedule) -> Findings:
        """Compare the candidates. Those that write get a copy of the data."""
        reads = get_or_create(server, READS)
        database = named(server, "bench_writes") if self.is_writing else reads
        if self.is_writing:
            clone(reads, database)
        result = compare(database, self.candidates(self.requests(database)), schedule)
        with database.connect() as connection:
            commit = " and ".join(*connection.execute(COMMIT))
        if self.is_writing:
            drop(database)
        ratios = [
            at_least(
                f"{each.one} against {each.other}, {each.dress}",
                each.ratio,
                result.ratios(each.dress, each.one, each.other)[: each.figures],
            )
            for each in self.targets
        ]
        note = f"{self.note} fsync and synchronous_commit are {commit}." if self.is_writing else self.note
        bars = result.bars(self.panel) if self.panel else []
        return Findings(self.title, method(schedule) + note, result.table(), ratios + result.losses(), bars)

    def candidates(self, sent: Sequence[Request]) -> list[Candidate]:
        """Return the servers in each dress, and pgbench."""
        raced = [Candidate(each.name, each, dress, sent) for dress in self.dresses for each in self.servers]
        return [*raced, *([Candidate(PGBENCH, script=self.script)] if self.script else [])]


def method(schedule: Schedule) -> str:
    """Describe the date, the schedule and the connections."""
    connections = " and with ".join(map(str, CONNECTIONS))
    rounds = f"medians of {schedule.rounds} rounds of {schedule.seconds} s, by turns"
    autogroup = ", and with autogroup on" if is_autogrouping() else ""
    return f"{datetime.now(UTC):%Y-%m-%d}: {rounds}, with {connections} connections{autogroup}."


def script(feed: PagedQuery, **values: str) -> str:
    """Return pgbench's script for the first page of a feed. Values that all requests share are constants of it."""
    keyset = {"created_at": f"'{NEWEST.created_at}'::timestamptz", "uuid": f"'{NEWEST.uuid}'::uuid"}
    statement = pgbench_script(page_statement(feed, feed.order, is_default_limit=True), **keyset, **values)
    return f"\\set n random(1, {READS.users})\n{statement}"


COMPARISONS = {
    # Each request is for another profile, so that every one goes to the database.
    "profiles": Scenario(
        f"Profiles of {PEOPLE}, picked at random",
        requests.profiles,
        (CRUDDUR, FASTAPI, FASTIFY, JOURNAL),
        (BARE, TENTH, EACH),
        [
            *(Target(BARE, FASTAPI.name, 0.9), Target(BARE, FASTIFY.name, 0.5)),
            *(Target(BARE, JOURNAL.name, 3.5), Target(BARE, PGBENCH, 0.3)),
            *(Target(TENTH, FASTAPI.name, 1.3), Target(TENTH, FASTIFY.name, 0.7)),
            *(Target(EACH, FASTAPI.name, 1), Target(EACH, FASTIFY.name, 0.45)),
        ],
        panel="Profiles",
        script=script(USER, handle="('person_' || :n)"),
    ),
    "zipf": Scenario(
        f"Profiles of {PEOPLE}, by a Zipf distribution (s = {requests.ZIPF})",
        requests.popular_profiles,
        (CRUDDUR, FASTAPI, FASTIFY),
        targets=[Target(TENTH, FASTAPI.name, 2)],
        panel="Profiles by Zipf",
    ),
    # The service may answer from its cache; the peers read the page each time. In an earlier measurement they reached
    # 0.32 and 0.19 of pgbench's rate. A peer with less than nine tenths of that is set up wrongly.
    "home": Scenario(
        "The home feed, a visitor's first page",
        requests.first_page,
        (CRUDDUR, FASTAPI, FASTIFY),
        (BARE, TENTH),
        [
            Target(TENTH, FASTIFY.name, 2),
            Target(BARE, PGBENCH, 0.29, FASTIFY.name, figures=1),
            Target(BARE, PGBENCH, 0.17, FASTAPI.name, figures=1),
        ],
        panel="Home feed",
        script=script(HOME),
    ),
    "signed-in": Scenario("The home feed, signed in", requests.home, note=BY_USERS),
    "following": Scenario("The personal home", requests.signed_in("/api/activities/following"), note=BY_USERS),
    "thread": Scenario("An activity and its replies", requests.threads),
    "notifications": Scenario("Notifications", requests.signed_in(requests.NOTIFICATIONS), note=BY_USERS),
    "like": Scenario("A like", requests.likes, note=BY_USERS, is_writing=True),
    # The token is verified, and the activity is on the disk before the response.
    "posting": Scenario(
        "Posting an activity",
        requests.posts,
        targets=[Target(TENTH, FASTAPI.name, 1.2)],
        panel="Posting",
        note=BY_USERS,
        is_writing=True,
    ),
    "mixed": Scenario(
        "A mixed load, as the page sends it",
        requests.mixed,
        targets=[Target(TENTH, FASTAPI.name, 1.3)],
        panel="Mixed load",
        note=" Half of the visits are anonymous, half signed in.",
        is_writing=True,
    ),
}
