"""Clients, few or many, that ask for more than their share."""

import struct
import time
from http import HTTPStatus
from urllib.parse import urlsplit

import psycopg

from faults.activities import insert_activities, insert_thread
from faults.drill import Figures, at_most, drill, none_of
from faults.unprotected import without
from harness.environment import HOME_FEED, Postgres, environment
from harness.figures import Figure
from harness.load import Answers, ask_repeatedly, get_repeatedly, getting, load
from harness.nginx import BEHIND, nginx
from harness.postgres import NOTHING, THROWAWAY
from harness.processes import connections, cpu_seconds, worker_memory_mb, worker_peak_mb
from harness.raw_clients import exchange, is_closed, raw_clients, slow_senders, status
from harness.waiting import poll
from ops.explain import measure, page_query
from services.search_activities import SEARCH, pattern

# RFC 9113, section 3.4: the preface, and an empty SETTINGS frame, with which each HTTP/2 connection begins.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">IBBI", 0, 4, 0, 0)[1:]
# RFC 7541: GET, http, /unknown, and `accept` into the dynamic table, of which one byte, 0xbe, is a copy.
COPIES = 3_900
HEADERS_LIMIT = 16 * 1024
IDLE_CONNECTIONS, CLOSED_SECONDS = 1_100, 30
# One page fits into the buffers of the kernel.
UNREAD_CLIENTS, UNREAD_PAGES, DROPPED_SECONDS = 400, 20, 60
# A page of replies with 1,024 characters, each of which is four bytes.
LARGEST = "repeat(chr(128512), CASE n WHEN 1 THEN 1 ELSE 1024 END)"
GONE_CLIENTS, GONE_SECONDS = 100, 5
TERM = "zq"
SEARCH_PROTECTION = "one search at a time in a process, and a limit of the activities that a page of a search scans"
# The search's own bound.
VISITS = 20_000
EVERY_SECOND_EXPIRED = "CASE n %% 2 WHEN 0 THEN now() - interval '1 s' END"


@drill("http2", "HTTP/1.1 only, with a limit of its headers (here granian's defaults)", is_short=True)
def http2(*, broken: bool) -> Figures:
    """Repeat a header of 4 KB by reference to 16 MB, on 16 connections of HTTP/2; send long headers by HTTP/1.1."""
    bomb = http2_bomb()
    # Without the protection each takes a minute of a core.
    count = 2 if broken else 16
    with environment(command=without("server", when=broken)) as env:
        get_repeatedly(env.url, HOME_FEED, 20)
        memory, cpu = worker_memory_mb(env.service.pid), cpu_seconds(env.service.pid)
        with raw_clients(env.url, count, bomb):
            alive = get_repeatedly(env.url, "/livez", 20, 0.1)
        response = exchange(env.url, bomb, 1)
        longer = [status(exchange(env.url, request(length))) for length in (HEADERS_LIMIT + 1, 400_000)]
        longest = status(exchange(env.url, request(HEADERS_LIMIT)))
        growth = worker_memory_mb(env.service.pid) / memory
        computed = cpu_seconds(env.service.pid) - cpu
    yield none_of("bytes of HTTP/2 in the answer", 0 if response.startswith(b"HTTP/1.1") else len(response))
    yield none_of("/livez not answered under 1 s", alive.failed_or_slower_than(1))
    yield at_most(f"slowest /livez beside {count} times {len(bomb):,} bytes", 1, alive.slowest, "s")
    yield at_most("computed meanwhile", 2, computed, "s")
    yield at_most("memory of a worker, against before", 1.1, growth, "times")
    yield none_of("headers of 16 KiB refused", int(longest != HTTPStatus.OK))
    yield none_of("longer headers taken", sum(each != HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE for each in longer))


def http2_bomb() -> bytes:
    """Return a connection's first bytes: one request, its header `accept` thousands of times."""
    path = b"/unknown"
    # Its length, 4,000, as RFC 7541, section 5.1, writes it.
    value = b"\x7f\xa1\x1e" + b"a," * 2000
    block = b"\x82\x86" + b"\x44" + bytes([len(path)]) + path + b"\x41\x01a" + b"\x53" + value + b"\xbe" * COPIES
    return PREFACE + struct.pack(">I", len(block))[1:] + struct.pack(">BBI", 1, 5, 1) + block


def request(header_bytes: int) -> bytes:
    """Return a request whose line and headers are so long."""
    start = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept: "
    return start + b"a" * (header_bytes - len(start) - 4) + b"\r\n\r\n"


@drill("idle-connections", "IDLE_TIMEOUT_SECONDS (here granian's defaults)", is_short=True, pause=0.1)
def idle_connections(*, broken: bool, pause: float = 1) -> Figures:
    """Open 1,100 connections, and send nothing."""
    with environment(command=without("server", when=broken)) as env:
        opened = time.monotonic()
        with raw_clients(env.url, IDLE_CONNECTIONS) as clients:
            alive = get_repeatedly(env.url, "/livez", 2 if broken else 26, pause)
            poll(lambda: all(map(is_closed, clients)), opened + CLOSED_SECONDS - time.monotonic(), pause=0.05)
            closed, left = time.monotonic() - opened, sum(not is_closed(client) for client in clients)
    yield none_of(f"/livez not answered under 1 s, of {len(alive)}", alive.failed_or_slower_than(1))
    yield at_most("slowest /livez", 1, alive.slowest, "s")
    yield none_of(f"of {IDLE_CONNECTIONS:,} connections not closed", left)
    yield at_most("the last one closed after", CLOSED_SECONDS, closed, "s")


@drill("unread-responses", "TCP_USER_TIMEOUT, the kernel's limit for unacknowledged data")
def unread_responses(*, broken: bool) -> Figures:
    """Ask for the largest page as 400 clients, and never read it."""
    with environment(command=without("unread", when=broken)) as env:
        path = f"/api/activities/@{env.people[0].handle}/status/{insert_thread(env, 100, LARGEST)}?limit=100"
        size = len(get_repeatedly(env.url, path, 1)[0].body)
        before = worker_memory_mb(env.service.pid)
        sent = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * UNREAD_PAGES
        with raw_clients(env.url, UNREAD_CLIENTS, sent, receive_buffer=4096):
            begun = time.monotonic()
            alive = get_repeatedly(env.url, "/livez", 20, 0.25)
            poll(lambda: not connections(env.service.pid, env.service.port), DROPPED_SECONDS, pause=0.5)
            dropped, left = time.monotonic() - begun, connections(env.service.pid, env.service.port)
        more = worker_peak_mb(env.service.pid) - before
    yield none_of("/livez not answered", alive.failed)
    yield at_most(f"slowest /livez, beside {UNREAD_CLIENTS * UNREAD_PAGES:,} such pages", 5, alive.slowest, "s")
    yield none_of(f"of {UNREAD_CLIENTS} clients not dropped", left)
    yield at_most("the last one dropped after", DROPPED_SECONDS, dropped, "s")
    bound = size * UNREAD_CLIENTS / 2**20
    yield at_most(f"more memory of a worker, for pages of {size / 2**20:.2f} MB", bound, more, "MB")


@drill("slow-bodies", "the limit of threads that read bodies, 3 of 4", is_short=True, count=5, pause=0.05)
def slow_bodies(*, broken: bool, count: int = 45, pause: float = 0.5) -> Figures:
    """Send 16 POSTs of a byte each 10 s and 16 GETs whose body never comes, signed in, each again once refused."""
    with environment(command=without("readers", when=broken)) as env:
        reads, writes = beside_slow_bodies(env.url, env, 1 if broken else count, pause)
    yield from reads
    refused = writes.with_status(HTTPStatus.SERVICE_UNAVAILABLE)
    yield none_of(f"writes neither 200 nor 503, of {len(writes)} ({refused} of them 503)", writes.failed - refused)
    yield at_most("slowest write", 2, writes.slowest, "s")


@drill("slow-bodies-behind-nginx", "proxy_request_buffering (here it is off)", count=10, pause=0.05)
def slow_bodies_behind_nginx(*, broken: bool, count: int = 45, pause: float = 0.5) -> Figures:
    """Send the same to nginx with the project's configuration."""
    changed = {"proxy_request_buffering on": "proxy_request_buffering off"} if broken else NOTHING
    with environment(settings=BEHIND) as env, nginx(urlsplit(env.url).netloc, changed=changed) as front:
        reads, writes = beside_slow_bodies(front.url, env, count, pause)
    yield from reads
    yield none_of(f"writes not answered, of {len(writes)}", writes.failed)
    yield at_most("slowest write", 2, writes.slowest, "s")


def beside_slow_bodies(url: str, postgres: Postgres, count: int, pause: float) -> tuple[list[Figure], Answers]:
    """Return the figures of health checks and pages, and the answers to writes, while bodies come slowly."""
    token, body = postgres.people[0].token, {"message": "as usual", "ttl": "1-hour"}
    figures = []
    with slow_senders(url, token):
        for name, path in {"/livez": "/livez", "/readyz": "/readyz", "a profile": postgres.page}.items():
            answers = get_repeatedly(url, path, count, pause)
            figures.append(none_of(f"{name} not answered, of {len(answers)}", answers.failed))
            figures.append(at_most(f"slowest of {name}", 2, answers.slowest, "s"))
        return figures, ask_repeatedly(url, lambda client: client.post("/api/activities", token, body), count)


@drill("clients-gone", "X-Request-Start of a trusted proxy (here TRUSTED_PROXIES is 0)", is_short=True)
def clients_gone(*, broken: bool) -> Figures:
    """Make 100 requests for a page whose table is locked, whose clients leave at once."""
    with environment(settings={"TRUSTED_PROXIES": "0" if broken else "1"}) as env:
        # As nginx passes it on.
        head = f"GET {env.page} HTTP/1.1\r\nHost: a\r\nX-Request-Start: t={time.time():.3f}\r\n\r\n".encode()
        with env.locked():
            with raw_clients(env.url, GONE_CLIENTS, head):
                pass
            (alive,) = ask_repeatedly(env.url, getting("/livez"), 1, timeout=60)
        released = time.monotonic()
        with load(env.url, 1, getting(env.page)) as answers:
            first = answers.wait_for_ok(released)
    yield none_of("/livez not answered", int(not alive.is_ok))
    what = f"/livez, asked after {GONE_CLIENTS} requests whose clients have left"
    yield at_most(what, GONE_SECONDS, alive.seconds, "s")
    yield at_most("a page answered, once the table is free, after", 2, first.ended - released, "s")


@drill("searches", SEARCH_PROTECTION, is_short=True, activities=100_000, count=10)
def searches(*, broken: bool, activities: int = 2_000_000, count: int = 40) -> Figures:
    """Search as 8 and 200 anonymous clients for a term without a trigram, among 2 million activities."""
    # Half of the activities have expired, and stay.
    with environment(options=THROWAWAY, command=without("searches", when=broken)) as env, env.unpurged():
        insert_activities(env, activities, expires_at=EVERY_SECOND_EXPIRED)
        with psycopg.connect(env.cluster.url(), autocommit=True) as connection:
            visited = measure(connection, page_query(TERM, SEARCH, words=[pattern(TERM)])).rows
        yield at_most("activities that a page of the search visits", VISITS, visited, "rows")
        for searchers in (8, 200):
            with load(env.url, searchers, getting(f"/api/activities/search?term={TERM}"), pause=0.5) as answers:
                alive = get_repeatedly(env.url, "/livez", count, 0.1)
                profiles = get_repeatedly(env.url, env.page, count, 0.1)
            by = f"with {searchers} searchers"
            yield none_of(f"{by}: /livez or a profile not 200, of {2 * count}", alive.failed + profiles.failed)
            yield at_most(f"{by}: slowest /livez", 500, 1000 * alive.slowest, "ms")
            yield at_most(f"{by}: a profile, p99", 500, 1000 * profiles.p99, "ms")
            ok, refused = (answers.with_status(each) for each in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE))
            what = f"{by}: searches neither 200 ({ok:,}) nor 503 ({refused:,})"
            yield none_of(what, answers.neither_200_nor_503())
