"""The races: who runs on what, and which ratios were to be reached."""

import json
import random
from datetime import UTC, datetime
from functools import partial

import urllib3

from bench.servers import CRUDDUR, FASTAPI, FASTIFY, JOURNAL, compare
from bench.data import READS, as_service, clone, is_autogrouping, kept, named
from bench.comparison import CONNECTIONS, Entry, Given, Race, race
from bench.report import Findings, Ratio, at_least
from harness.collector import collector_process
from harness.processes import Running
from harness.wrk import Request, pgbench_script
from lib.pagination import NEWEST, PageRequest
from lib.queries import PagedQuery, page_statement
from ops import dev_keys
from ops.command import Database
from ops.dev_token import create_access_token
from ops.drop_database import drop
from ops.fake_data import WORDS
from services.home_activities import HOME, HomeActivities
from services.user_activities import USER

FEED, POSTS = "/api/activities/home", "/api/activities"
PGBENCH = "pgbench"
# What peers reached of pgbench's rate on the home feed in an earlier measurement, 3,950 and 2,400 of 12,500
# requests a second. One that falls more than a tenth short of that is not run as it should be.
KNOWN = {FASTIFY.name: 0.32, FASTAPI.name: 0.19}
# So many people, that nobody's token need be the one that was seen last.
SIGNED_IN = 1000


def reads(server: Database, given: Given) -> Findings:
    """Profiles of different people, which go to the database each time."""
    people = profiles()
    limit = Entry(PGBENCH, script=script(USER, handle="('person_' || :n)"))
    contestants = [Entry(each.name, each, people) for each in (CRUDDUR, FASTAPI, FASTIFY, JOURNAL)]
    found = race(kept(server, READS), [*contestants, limit], given)
    wanted = {FASTAPI.name: 1.2, FASTIFY.name: 0.9, JOURNAL.name: 3.5, PGBENCH: 0.3}
    return Findings(
        title=f"Profiles of {READS.users:,} people, picked at random",
        how=how(given),
        table=found.table(),
        ratios=[
            at_least(f"profiles, against {other}", least, found.ratios(CRUDDUR.name, other))
            for other, least in wanted.items()
        ],
        bars=found.bars("Profiles, requests a second"),
    )


def home(server: Database, given: Given) -> Findings:
    """A visitor's first page, which our service may have at hand, and the others read each time."""
    contestants = [Entry(each.name, each, [Request(FEED)]) for each in (CRUDDUR, FASTAPI, FASTIFY)]
    found = race(kept(server, READS), [*contestants, Entry(PGBENCH, script=script(HOME))], given)
    return Findings(
        title="The home feed, a visitor's first page",
        how=how(given),
        table=found.table(),
        ratios=[
            at_least(f"home feed, against {FASTIFY.name}", 2, found.ratios(CRUDDUR.name, FASTIFY.name)),
            *(counts(found, peer, known) for peer, known in KNOWN.items()),
        ],
        bars=found.bars("Home feed, requests a second"),
    )


def counts(found: Race, peer: str, known: float) -> Ratio:
    """Whether a peer is as fast as it is known to be."""
    what = f"{peer} against pgbench on the home feed, {CONNECTIONS[0]} connections: its figures count"
    return at_least(what, round(0.9 * known, 2), found.ratios(peer, PGBENCH)[:1])


def signed_in(server: Database, given: Given) -> Findings:
    """The first page for who is signed in, against a visitor's second: both are read each time."""
    database = kept(server, READS)
    with as_service(database) as db:
        cursor = HomeActivities(db).run(page_request=PageRequest(20)).next
    signed = Entry("signed in", CRUDDUR, [Request(FEED, each) for each in tokens(database)])
    visitor = Entry("a visitor's second page", CRUDDUR, [Request(f"{FEED}?cursor={cursor}")])
    found = race(database, [signed, visitor], given)
    return Findings(
        title="The home feed, signed in",
        how=f"{how(given)} By {SIGNED_IN:,} people, picked at random.",
        table=found.table(),
        ratios=[at_least(f"home feed, signed in against {visitor.name}", 0.8, found.ratios(signed.name, visitor.name))],
        bars=[],
    )


def traced(server: Database, given: Given) -> Findings:
    """Every request or one in ten traced, spans and metrics exported to a collector here, against no tracing."""
    with collector_process("collector-all") as url, collector_process("collector-tenth") as another_url:
        tenth = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
        on = Entry("traced", CRUDDUR, profiles(), {"OTEL_EXPORTER_OTLP_ENDPOINT": url})
        one_in_ten = Entry(
            "one in ten traced", CRUDDUR, profiles(), {"OTEL_EXPORTER_OTLP_ENDPOINT": another_url, **tenth}
        )
        off = Entry("not traced", CRUDDUR, profiles())
        found = race(kept(server, READS), [on, one_in_ten, off], given)
        arrived = int(urllib3.request("GET", url).data)
    dropped = max(0, found.requests[on.name] - arrived)
    return Findings(
        title="Profiles, traced",
        how=f"{how(given)} Of {found.requests[on.name]:,} requests that were traced the collector misses {dropped:,}.",
        table=found.table(),
        ratios=[
            at_least(f"profiles, {entry.name} against not traced", 0.85, found.ratios(entry.name, off.name))
            for entry in (on, one_in_ten)
        ],
        bars=[],
    )


def posting(server: Database, given: Given) -> Findings:
    """An activity: whose it is says a token that is verified, and it is on the disk when it is answered."""
    database = named(server, "bench_posting")
    # A copy: what is posted is not there in the other races.
    clone(kept(server, READS), database)
    posts = [Request(POSTS, each, json.dumps({"message": message(), "ttl": "7-days"})) for each in tokens(database)]
    contestants = [Entry(each.name, each, posts) for each in (CRUDDUR, FASTAPI)]
    found = race(database, contestants, given, partial(check_posting, request=posts[0]))
    with database.connect() as connection:
        safe = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in ("fsync", "synchronous_commit")]
    drop(database)
    return Findings(
        title="Posting an activity",
        how=f"{how(given)} By {SIGNED_IN:,} people, picked at random; fsync and synchronous_commit are "
        f"{' and '.join(str(value) for row in safe if row for value in row)}.",
        table=found.table(),
        ratios=[at_least(f"posting, against {FASTAPI.name}", 1.1, found.ratios(CRUDDUR.name, FASTAPI.name))],
        bars=[],
    )


def check_posting(server: Running, database: Database, request: Request) -> None:
    """Raise `CommandError` unless the answer to a post is the activity that the database has then."""
    headers = {"Authorization": f"Bearer {request.token}", "Content-Type": "application/json"}
    answer = urllib3.request("POST", server.url + request.path, body=request.body, headers=headers)
    made = answer.json()
    with as_service(database) as db:
        kept_activity = db.query_object("activities/show", activity_uuid=made["uuid"], handle=made["handle"])
    compare(request.path, answer, json.loads(kept_activity))


def profiles() -> list[Request]:
    """The profile of everybody."""
    return [Request(f"/api/activities/@person_{n}") for n in range(1, READS.users + 1)]


def tokens(database: Database) -> list[str]:
    """Access tokens of many people."""
    key = dev_keys.load_or_create()
    with database.connect() as connection:
        found = connection.execute("SELECT cognito_user_id FROM users ORDER BY uuid LIMIT %s", [SIGNED_IN])
        return [create_access_token(key, sub) for (sub,) in found]


def message() -> str:
    """Something to post."""
    return " ".join(random.choices(WORDS, k=8))


def script(feed: PagedQuery, **values: str) -> str:
    """The first page of a feed, for pgbench. What every request has alike is constant in it."""
    place = {"created_at": f"'{NEWEST.created_at}'::timestamptz", "uuid": f"'{NEWEST.uuid}'::uuid"}
    statement = pgbench_script(page_statement(feed, feed.order, is_default_limit=True), **place, **values)
    return f"\\set n random(1, {READS.users})\n{statement}"


def how(given: Given) -> str:
    """When it was measured, and how long."""
    connections = " and with ".join(map(str, CONNECTIONS))
    rounds = f"medians of {given.rounds} rounds of {given.seconds} s, by turns"
    grouped = ", and with autogroup on" if is_autogrouping() else ""
    return f"{datetime.now(UTC):%Y-%m-%d}: {rounds}, with {connections} connections{grouped}."
