"""Cognito's keys and the collector of traces are away."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from itertools import count
from statistics import median
from urllib.parse import urlsplit

from joserfc.jwk import RSAKey

from faults.drill import Figures, at_most, drill, none_of
from harness.collector import collector_process
from harness.environment import PROCESSES, Postgres, environment, postgres, serving
from harness.load import Answer, Client, Step, fresh, load
from harness.postgres import NOTHING
from harness.processes import total_memory_mb, worker_memory_mb
from harness.stubs import StubRequest, StubResponse, http_stub, refusing, silent
from harness.waiting import wait_until
from harness.wrk import burst
from lib.cognito import MIN_REFRESH_INTERVAL_SECONDS
from ops import dev_keys
from ops.dev_token import create_access_token

# New connections come slowly enough that the machine does not run out of ports for them.
PAUSE, PATIENCE = 0.02, 10
SUBS = "SELECT users.cognito_user_id FROM users ORDER BY users.uuid"
CONNECTIONS, TURN_SECONDS, WARM_UP_SECONDS, STOP_SECONDS = 16, 1, 3, 25
STATES = ("well", "down", "hanging")
# A queue without a bound, or as good as that.
ENDLESS = {"OTEL_BSP_MAX_QUEUE_SIZE": "1000000"}
TRACING_CLIENTS, TRACED_REQUESTS, WARM_UP_REQUESTS = 8, 12_000, 800
# W3C Trace Context: at most 32 members. The SDK takes values of up to 256 characters.
TRACESTATE = ",".join(f"vendor{number}={'x' * 256}" for number in range(32))
# The trace is to be recorded.
TRACE_HEADERS = {"traceparent": f"00-{'1' * 32}-{'1' * 16}-01", "tracestate": TRACESTATE}


@drill("keys-away", "cached keys stay in use (here the cache never had a key)", is_short=True, seconds=4)
def keys_away(*, broken: bool, seconds: int = 65) -> Figures:
    """Make Cognito's keys unreachable for 65 s: packets to them get no answer."""
    key, stranger = dev_keys.load_or_create(), RSAKey.generate_key(2048, {"kid": "stranger"}, auto_kid=False)
    requests: list[StubRequest] = []

    def key_set(request: StubRequest) -> StubResponse:
        requests.append(request)
        return StubResponse(body=dev_keys.jwks_path().read_bytes())

    with postgres() as database, ExitStack() as stack, ExitStack() as cognito:
        url = cognito.enter_context(http_stub(key_set))
        settings = {"AWS_COGNITO_JWKS_URL": f"{url}/jwks.json"}
        service = stack.enter_context(serving(database.database_url, **settings))
        known, unknown = as_users(key, database), as_users(stranger, database)

        if not broken:
            # Each process asks for the keys by itself.
            with load(service.url, 1, known):
                wait_until(lambda: len(requests) >= PROCESSES, "a request of each process for the keys", PATIENCE)
        cognito.close()
        with (
            silent(urlsplit(url).port or 0) as server,
            load(service.url, 4, known, pause=PAUSE) as users,
            load(service.url, 2, unknown, pause=PAUSE) as strangers,
        ):
            time.sleep(seconds)
        look_ups = len(server.connections)
    accepted = len(strangers) - strangers.with_status(HTTPStatus.UNAUTHORIZED)
    yield none_of(f"refused of {len(users):,} tokens of a known key", users.failed)
    yield none_of(f"answered other than 401 of {len(strangers):,} tokens of an unknown key", accepted)
    limit = PROCESSES * (1 + seconds // MIN_REFRESH_INTERVAL_SECONDS)
    yield at_most(f"look-ups by {PROCESSES} processes in {seconds} s", limit, look_ups, "look-ups")


def as_users(key: RSAKey, database: Postgres) -> Step:
    """Return the step that gets a user's notifications, another's and with a new token each time."""
    subs = [str(sub) for (sub,) in database.rows(SUBS)]
    numbers = count()

    def ask(client: Client) -> Answer:
        return client.get("/api/activities/notifications", create_access_token(key, subs[next(numbers) % len(subs)]))

    # Each process gets its share of new connections.
    return fresh(ask)


@drill("collector-away", "the limit of the queue of spans, OTEL_BSP_MAX_QUEUE_SIZE", rounds=3, half=3)
def collector_away(*, broken: bool, rounds: int = 60, half: int = 15) -> Figures:
    """Have the collector of traces down (connections refused), and hanging (accepted, and not answered)."""
    settings = ENDLESS if broken else NOTHING
    with postgres() as database:
        with collector("hanging") as exported:
            with serving(database.database_url, **exported, **settings) as service:
                # Long enough for any queue to be full.
                burst(service.url, database.pages, CONNECTIONS, half)
                memory = total_memory_mb(service.pid)
                burst(service.url, database.pages, CONNECTIONS, half)
                growth = total_memory_mb(service.pid) / memory
                begun = time.monotonic()
            stop = time.monotonic() - begun
        yield at_most(f"memory after {2 * half} s with it hanging, against half of that", 1.1, growth, "times")
        yield at_most("stop, with it hanging", STOP_SECONDS, stop, "s")
        p99s = p99s_by_state(database, settings, rounds)
    well = median(p99s["well"])
    for state in STATES[1:]:
        what = f"p99 with the collector {state}, against {well:.2f} ms with it well (medians of {rounds} turns)"
        yield at_most(what, 1.05, median(p99s[state]) / well, "times")


def p99s_by_state(database: Postgres, settings: Mapping[str, str], rounds: int) -> dict[str, list[float]]:
    """Return the 99th percentile of each turn in milliseconds, by the collector's state."""
    p99s: dict[str, list[float]] = {state: [] for state in STATES}
    with ExitStack() as stack:
        urls = {}
        for state in STATES:
            exported = stack.enter_context(collector(state))
            service = stack.enter_context(serving(database.database_url, name=state, **exported, **settings))
            urls[state] = service.url
            burst(service.url, database.pages, CONNECTIONS, WARM_UP_SECONDS)
        # Short turns, so that the machine's other work is the same for all.
        for turn in range(rounds):
            for state in STATES[turn % 3 :] + STATES[: turn % 3]:
                p99s[state].append(burst(urls[state], database.pages, CONNECTIONS, TURN_SECONDS).p99)
    return p99s


@contextmanager
def collector(state: str) -> Iterator[dict[str, str]]:
    """Run a collector in that state while this lasts. Yields the settings that export every request's spans to it."""
    with ExitStack() as stack:
        match state:
            case "down":
                url = stack.enter_context(refusing())
            case "hanging":
                url = stack.enter_context(silent()).url
            case _:
                url = stack.enter_context(collector_process())
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": url}


@drill("tracestate", "the limit of the queue of spans, OTEL_BSP_MAX_QUEUE_SIZE")
def tracestate(*, broken: bool, requests: int = TRACED_REQUESTS) -> Figures:
    """Make 12,000 requests with the longest tracestate, while the collector hangs."""
    with collector("hanging") as exported, environment(settings={**exported, **(ENDLESS if broken else {})}) as env:

        def traced(client: Client) -> Answer:
            return client.ask("GET", env.page, headers=TRACE_HEADERS)

        with load(env.url, TRACING_CLIENTS, traced) as warm_up:
            wait_until(lambda: len(warm_up) >= WARM_UP_REQUESTS, "the warm-up")
        before = worker_memory_mb(env.service.pid)
        with load(env.url, TRACING_CLIENTS, traced) as answers:
            wait_until(lambda: len(answers) >= requests, "the last request")
        more = worker_memory_mb(env.service.pid) - before
    yield none_of(f"of {len(answers):,} requests not answered", answers.failed)
    yield at_most(f"more memory of a worker, for a tracestate of {len(TRACESTATE):,} bytes", 48, more, "MB")
