"""The drills in which clients, few or many, ask for more than their share."""

from functools import partial

from faults.clients_gone import clients_gone
from faults.drill import Drill
from faults.http2 import http2
from faults.idle_connections import idle_connections
from faults.parent_killed import parent_killed
from faults.searches import searches
from faults.slow_bodies import slow_bodies, slow_bodies_behind_nginx
from faults.tracestate import tracestate
from faults.unread_responses import unread_responses

DRILLS = [
    Drill(
        "http2",
        "16 connections of HTTP/2 without TLS, one header of 4 KB repeated by reference to 16 MB; headers of 16 KiB "
        "and more by HTTP/1.1",
        "HTTP/1.1 alone and the bound of its headers (here granian's defaults)",
        http2,
        is_short=True,
    ),
    Drill(
        "idle-connections",
        "1,100 connections that send nothing",
        "IDLE_TIMEOUT_SECONDS (here granian's defaults)",
        partial(idle_connections, 1),
        is_short=True,
        run_short=partial(idle_connections, 0.1),
    ),
    Drill(
        "unread-responses",
        "400 clients that ask for the largest page and never read it",
        "the kernel's limit for what is sent and not acknowledged, TCP_USER_TIMEOUT",
        unread_responses,
    ),
    Drill(
        "slow-bodies",
        "16 signed-in POSTs of a byte each 10 s and 16 signed-in GETs whose body never comes, each again once refused",
        "the bound of the threads that read bodies, 3 of 4",
        partial(slow_bodies, 45, 0.5),
        is_short=True,
        run_short=partial(slow_bodies, 5, 0.05),
    ),
    Drill(
        "slow-bodies-behind-nginx",
        "the same to nginx with the project's configuration",
        "proxy_request_buffering (here it is off)",
        partial(slow_bodies_behind_nginx, 45, 0.5),
    ),
    Drill(
        "tracestate",
        "12,000 requests with the longest tracestate, while the collector hangs",
        "the bound of the queue of spans, OTEL_BSP_MAX_QUEUE_SIZE",
        tracestate,
    ),
    Drill(
        "clients-gone",
        "100 requests for a page whose table is locked, whose clients leave at once",
        "X-Request-Start of a trusted proxy (here TRUSTED_PROXIES is 0)",
        clients_gone,
        is_short=True,
    ),
    Drill(
        "parent-killed",
        "the service's first process killed (-9), and another started on its port",
        "that the workers end with it",
        parent_killed,
        is_short=True,
    ),
    Drill(
        "searches",
        "8 and 200 anonymous clients that search for a term without a trigram; 2 million activities",
        "one search at a time in a process, and the activities that a page of a search visits",
        partial(searches, 2_000_000, 40, 0.1),
        is_short=True,
        run_short=partial(searches, 100_000, 10, 0.1),
    ),
]
