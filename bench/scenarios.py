"""The comparisons: candidates on the same data, and the wanted ratios of their rates."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from bench import requests
from bench.comparison import CONNECTIONS, Candidate, Schedule, compare
from bench.data import READS, clone, get_or_create, named
from bench.report import Findings
from bench.requests import DRAWN, SIGNED_IN, signed_in
from bench.servers import BARE, CRUDDUR, EACH, FASTAPI, FASTIFY, JOURNAL, TENTH, Server
from harness.commands import is_autogrouping
from harness.environment import HOME_FEED
from harness.figures import at_least
from harness.wrk import Request, pgbench_script
from lib.queries import PagedQuery, page_statement
from ops.command import Database
from ops.drop_database import drop
from services.home_activities import HOME
from services.user_activities import USER

PGBENCH = "pgbench"
COMMIT = "SELECT current_setting('fsync'), current_setting('synchronous_commit')"


class Target(NamedTuple):
    """The least ratio of one candidate's rate to another's in a dress, for the first `figures` of CONNECTIONS."""

    dress: str
    other: str
    ratio: float
    one: str = CRUDDUR.name
    figures: int = len(CONNECTIONS)


class Scenario(NamedTuple):
    """A comparison: servers in each of the dresses, and Postgres alone; wanted ratios; a panel of the chart."""

    title: str
    requests: Callable[[Database], list[Request]]
    servers: Sequence[Server] = (CRUDDUR, FASTAPI)
    dresses: Sequence[str] = (TENTH,)
    targets: Sequence[Target] = ()
    panel: str = ""
    alone: Sequence[Candidate] = ()
    is_writing: bool = False

    def run(self, server: Database, schedule: Schedule) -> Findings:
        """Compare the candidates. Those that write get a copy of the data."""
        reads = get_or_create(server, READS)
        database = named(server, "bench_writes") if self.is_writing else reads
        if self.is_writing:
            clone(reads, database)
        sent = self.requests(database)
        candidates = [Candidate(each.name, each, dress, sent) for dress in self.dresses for each in self.servers]
        result = compare(database, [*candidates, *self.alone], schedule)
        users = len({each.token for each in sent if each.token})
        notes = [method(schedule), *([f"Tokens of {users:,} users, picked at random."] if users else [])]
        if self.is_writing:
            with database.connect() as connection:
                commit = " and ".join(*connection.execute(COMMIT))
            notes.append(f"fsync and synchronous_commit are {commit}.")
            drop(database)
        ratios = [
            at_least(f"{one} against {other}, {dress}", least, result.ratios(dress, one, other)[:figures])
            for dress, other, least, one, figures in self.targets
        ]
        return Findings(self.title, " ".join(notes), result.table(), ratios + result.losses(), result.bars(self.panel))


def method(schedule: Schedule) -> str:
    """Describe the date, the schedule and the connections."""
    connections = " and with ".join(map(str, CONNECTIONS))
    rounds = f"medians of {schedule.rounds} rounds of {schedule.seconds} s, by turns"
    autogroup = ", and with autogroup on" if is_autogrouping() else ""
    return f"{datetime.now(UTC):%Y-%m-%d}: {rounds}, with {connections} connections{autogroup}."


def pgbench(feed: PagedQuery, **values: str) -> Candidate:
    """Return pgbench with the first page of a feed. Values that all requests share are constants of its statement."""
    statement = pgbench_script(page_statement(feed, feed.order, is_first=True, is_default_limit=True), **values)
    return Candidate(PGBENCH, script=f"\\set n random(1, {READS.users})\n{statement}")


COMPARISONS = {
    # Each request is for another profile, so that nearly every one goes to the database.
    "profiles": Scenario(
        f"Profiles of {READS.users:,} people, picked at random",
        lambda _: list(map(Request, requests.PROFILES)),
        (CRUDDUR, FASTAPI, FASTIFY, JOURNAL),
        (BARE, TENTH, EACH),
        [
            *(Target(BARE, FASTAPI.name, 0.9), Target(BARE, FASTIFY.name, 0.5)),
            *(Target(BARE, JOURNAL.name, 3.5), Target(BARE, PGBENCH, 0.3)),
            *(Target(TENTH, FASTAPI.name, 1.3), Target(TENTH, FASTIFY.name, 0.7)),
            *(Target(EACH, FASTAPI.name, 1), Target(EACH, FASTIFY.name, 0.45)),
        ],
        panel="Profiles",
        alone=[pgbench(USER, handle="('person_' || :n)")],
    ),
    "zipf": Scenario(
        f"Profiles of {READS.users:,} people, by a Zipf distribution (s = {requests.ZIPF})",
        lambda _: list(map(Request, requests.zipf(requests.PROFILES, random.Random(1)))),
        (CRUDDUR, FASTAPI, FASTIFY),
        targets=[Target(TENTH, FASTAPI.name, 2)],
        panel="Profiles by Zipf",
    ),
    # The service may answer from its cache; the peers read the page each time. In an earlier measurement they reached
    # 0.32 and 0.19 of pgbench's rate. A peer with less than nine tenths of that is set up wrongly.
    "home": Scenario(
        "The home feed, a visitor's first page",
        lambda _: [Request(HOME_FEED)],
        (CRUDDUR, FASTAPI, FASTIFY),
        (BARE, TENTH),
        [
            Target(TENTH, FASTIFY.name, 2),
            Target(BARE, PGBENCH, 0.29, FASTIFY.name, figures=1),
            Target(BARE, PGBENCH, 0.17, FASTAPI.name, figures=1),
        ],
        panel="Home feed",
        alone=[pgbench(HOME)],
    ),
    "signed-in": Scenario("The home feed, signed in", partial(signed_in, "first page", SIGNED_IN)),
    "following": Scenario("The personal home", partial(signed_in, "following", SIGNED_IN)),
    "thread": Scenario("An activity and its replies, signed in", partial(signed_in, "thread", DRAWN)),
    "notifications": Scenario("Notifications", partial(signed_in, "notifications", SIGNED_IN)),
    "like": Scenario("Liking an activity", partial(signed_in, "like", DRAWN), is_writing=True),
    # The token is verified, and the activity is on the disk before the response.
    "posting": Scenario(
        "Posting an activity",
        partial(signed_in, "post", SIGNED_IN),
        targets=[Target(TENTH, FASTAPI.name, 1.2)],
        panel="Posting",
        is_writing=True,
    ),
    "mixed": Scenario(
        "A mixed load, as the page sends it",
        requests.mixed,
        targets=[Target(TENTH, FASTAPI.name, 1.3)],
        panel="Mixed load",
        is_writing=True,
    ),
}
