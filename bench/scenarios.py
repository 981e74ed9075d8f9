"""The comparisons: candidates on the same data, and the wanted ratios of their rates."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from bench.comparison import CONNECTIONS, Candidate, Schedule, compare
from bench.data import READS, as_service, clone, get_or_create, named
from bench.report import Findings, at_least
from bench.servers import CRUDDUR, FASTAPI, FASTIFY, JOURNAL, ONE_IN_TEN, PAGE, PRODUCTION, Server, dressed
from harness.commands import is_autogrouping
from harness.environment import HOME_FEED
from harness.wrk import Request, pgbench_script
from lib.pagination import NEWEST
from lib.queries import PagedQuery, page_statement
from ops import dev_keys
from ops.command import Database
from ops.dev_token import create_access_token
from ops.drop_database import drop
from ops.fake_data import WORDS
from services.home_activities import HOME, HomeActivities
from services.user_activities import USER

PGBENCH, SECOND_PAGE = "pgbench", "a visitor's second page"
PEER_CHECK = f"{{}} against {PGBENCH} on the home feed, {CONNECTIONS[0]} connections: its figures count"
# So many users that a token is rarely the same as the one before.
SIGNED_IN = 1000
BY_USERS = f" By {SIGNED_IN:,} people, picked at random"
COMMIT = "SELECT current_setting('fsync'), current_setting('synchronous_commit')"


class Target(NamedTuple):
    """The least ratio of one candidate's rate to another's, for the first `figures` of CONNECTIONS."""

    name: str
    one: str
    other: str
    ratio: float
    figures: int = len(CONNECTIONS)


class Scenario(NamedTuple):
    """A comparison: candidates on a database, wanted ratios, a note on the method, and a panel of the chart."""

    title: str
    candidates: Callable[[Database], Sequence[Candidate]]
    targets: Sequence[Target]
    note: str = ""
    panel: str = ""
    is_writing: bool = False

    def run(self, server: Database, schedule: Schedule) -> Findings:
        """Compare the candidates. Those that write get a copy of the data."""
        reads = get_or_create(server, READS)
        database = named(server, "bench_posting") if self.is_writing else reads
        if self.is_writing:
            clone(reads, database)
        result = compare(database, self.candidates(database), schedule)
        with database.connect() as connection:
            commit = " and ".join(*connection.execute(COMMIT))
        if self.is_writing:
            drop(database)
        requests, exported = result.requests[CRUDDUR.name], result.exported[CRUDDUR.name]
        note = self.note.format(requests=requests, exported=exported, commit=commit)
        ratios = [
            at_least(each.name, each.ratio, result.ratios(each.one, each.other)[: each.figures])
            for each in self.targets
        ]
        bars = result.bars(self.panel) if self.panel else []
        return Findings(self.title, method(schedule) + note, result.table(), ratios, bars)


def method(schedule: Schedule) -> str:
    """Describe the date, the schedule and the connections."""
    connections = " and with ".join(map(str, CONNECTIONS))
    rounds = f"medians of {schedule.rounds} rounds of {schedule.seconds} s, by turns"
    autogroup = ", and with autogroup on" if is_autogrouping() else ""
    return f"{datetime.now(UTC):%Y-%m-%d}: {rounds}, with {connections} connections{autogroup}."


def candidates(*servers: Server, requests: Sequence[Request]) -> list[Candidate]:
    """Return a candidate for each server."""
    return [Candidate(server.name, server, requests) for server in servers]


def profiles() -> list[Request]:
    """Return a request for the profile of each user."""
    return [Request(f"/api/activities/@person_{n}") for n in range(1, READS.users + 1)]


def signed_in(database: Database) -> list[Request]:
    """Return requests of many users for the home feed."""
    key = dev_keys.load_or_create()
    with database.connect() as connection:
        subs = connection.execute("SELECT cognito_user_id FROM users ORDER BY uuid LIMIT %s", [SIGNED_IN])
        return [Request(HOME_FEED, create_access_token(key, sub)) for (sub,) in subs]


def second_page(database: Database) -> list[Request]:
    """Return an anonymous request for the second page of the home feed."""
    with as_service(database) as db:
        return [Request(f"{HOME_FEED}?cursor={HomeActivities(db).run(page_request=PAGE).next}")]


def post(request: Request) -> Request:
    """Return the request of the same user to post an activity."""
    message = " ".join(random.choices(WORDS, k=8))
    return Request("/api/activities", request.token, json.dumps({"message": message, "ttl": "7-days"}))


def pgbench(feed: PagedQuery, **values: str) -> Candidate:
    """Return pgbench with the first page of a feed. Values that all requests share are constants of its statement."""
    keyset = {"created_at": f"'{NEWEST.created_at}'::timestamptz", "uuid": f"'{NEWEST.uuid}'::uuid"}
    statement = pgbench_script(page_statement(feed, feed.order, is_default_limit=True), **keyset, **values)
    return Candidate(PGBENCH, script=f"\\set n random(1, {READS.users})\n{statement}")


def in_production(traced: str, ratios: Mapping[str, float], **sampling: str) -> Scenario:
    """Return the comparison of profiles in production's dress."""
    servers, settings = (CRUDDUR, FASTAPI, FASTIFY, JOURNAL), {**PRODUCTION, **sampling}
    return Scenario(
        f"Profiles of {READS.users:,} people, in production's dress, {traced} traced",
        lambda _: [Candidate(each.name, dressed(each), profiles(), settings, is_traced=True) for each in servers],
        [Target(f"{traced} traced, against {peer}", CRUDDUR.name, peer, least) for peer, least in ratios.items()],
        note=" Of Cruddur's {requests:,} requests the collector has {exported:,} traces.",
        panel=f"Profiles, {traced} traced, requests a second",
    )


COMPARISONS = {
    # Each request is for another profile, so that every one goes to the database.
    "reads": Scenario(
        f"Profiles of {READS.users:,} people, picked at random",
        lambda _: [
            *candidates(CRUDDUR, FASTAPI, FASTIFY, JOURNAL, requests=profiles()),
            pgbench(USER, handle="('person_' || :n)"),
        ],
        [
            Target(f"profiles, against {other}", CRUDDUR.name, other, ratio)
            for other, ratio in ((FASTAPI.name, 0.9), (FASTIFY.name, 0.5), (JOURNAL.name, 3.5), (PGBENCH, 0.3))
        ],
        panel="Profiles, requests a second",
    ),
    "production": in_production("one in ten", {FASTAPI.name: 1.3, FASTIFY.name: 0.7}, **ONE_IN_TEN),
    "production-traced": in_production("each request", {FASTAPI.name: 1, FASTIFY.name: 0.45}),
    # The service may answer from its cache; the peers read the page each time. In an earlier measurement they reached
    # 0.32 and 0.19 of pgbench's rate. A peer with less than nine tenths of that is set up wrongly.
    "home": Scenario(
        "The home feed, a visitor's first page",
        lambda _: [*candidates(CRUDDUR, FASTAPI, FASTIFY, requests=[Request(HOME_FEED)]), pgbench(HOME)],
        [
            Target(f"home feed, against {FASTIFY.name}", CRUDDUR.name, FASTIFY.name, 2),
            Target(PEER_CHECK.format(FASTIFY.name), FASTIFY.name, PGBENCH, 0.29, figures=1),
            Target(PEER_CHECK.format(FASTAPI.name), FASTAPI.name, PGBENCH, 0.17, figures=1),
        ],
        panel="Home feed, requests a second",
    ),
    # Both pages are read each time.
    "signed-in": Scenario(
        "The home feed, signed in",
        lambda database: [
            Candidate("signed in", CRUDDUR, signed_in(database)),
            Candidate(SECOND_PAGE, CRUDDUR, second_page(database)),
        ],
        [Target(f"home feed, signed in against {SECOND_PAGE}", "signed in", SECOND_PAGE, 0.8)],
        note=f"{BY_USERS}.",
    ),
    # The token is verified, and the activity is on the disk before the response.
    "posting": Scenario(
        "Posting an activity",
        lambda database: candidates(CRUDDUR, FASTAPI, requests=list(map(post, signed_in(database)))),
        [Target(f"posting, against {FASTAPI.name}", CRUDDUR.name, FASTAPI.name, 1.1)],
        note=f"{BY_USERS}; fsync and synchronous_commit are {{commit}}.",
        is_writing=True,
    ),
}
