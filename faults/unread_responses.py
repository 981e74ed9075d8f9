"""Clients that ask for large pages and never read one: the memory for them is bounded, and they are dropped."""

import time
from collections.abc import Iterator

from faults.drill import Figure, at_most, none_of
from faults.http2 import resident
from faults.unprotected import without
from faults.worker_killed import port_of
from harness.environment import SERVE, Ground, ground, serving
from harness.load import slowest
from harness.processes import tree
from harness.raw_clients import ask_repeatedly, raw_clients
from harness.sockets import held_by

CLIENTS = 400
# One page fits into the buffers of the kernel.
PAGES = 20
DROPPED_SECONDS = 60
# A thread's page of replies with 1,024 characters, each of which is four bytes.
REPLIES = """
    WITH thread AS (
        SELECT activities.uuid, activities.user_uuid, users.handle
        FROM activities
        JOIN users ON users.uuid = activities.user_uuid
        WHERE activities.reply_to_activity_uuid IS NULL
        ORDER BY activities.expires_at DESC
        LIMIT 1
    ), replies AS (
        INSERT INTO activities (user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid)
        SELECT thread.user_uuid, repeat(chr(128512), 1024), thread.uuid, thread.user_uuid
        FROM thread
        CROSS JOIN generate_series(1, 100)
    )
    SELECT '/api/activities/@' || thread.handle || '/status/' || thread.uuid || '?limit=100' FROM thread
"""


def unread_responses(broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Ask, and read nothing."""
    with ground() as postgres, serving(postgres.url, without("unread") if broken else SERVE) as service:
        page, size = largest_page(postgres, service.url)
        before = resident(service)
        port = port_of(service)
        requests = f"GET {page} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * PAGES
        with raw_clients(service.url, CLIENTS, requests, receive_buffer=4096):
            asked = time.monotonic()
            alive = ask_repeatedly(service.url, "/livez", 20, 0.25)
            most = resident(service)
            while left := sum(len(held_by(pid, port)) for pid in tree(service.pid)):
                if time.monotonic() - asked > DROPPED_SECONDS:
                    break
                time.sleep(0.5)
                most = max(most, resident(service))
            dropped = time.monotonic() - asked
    yield none_of("/livez not answered", sum(not each.is_ok for each in alive))
    yield at_most(f"slowest /livez, beside {CLIENTS * PAGES:,} such pages", 5, slowest(alive), "s")
    yield none_of(f"of {CLIENTS} clients not dropped", left)
    yield at_most("the last one dropped after", DROPPED_SECONDS, dropped, "s")
    bound = size * CLIENTS / 2**20
    yield at_most(f"more memory of a worker, for pages of {size / 2**20:.2f} MB", bound, most - before, "MB")


def largest_page(postgres: Ground, url: str) -> tuple[str, int]:
    """Write the largest page that there can be. Return its path, and how many bytes it has."""
    ((page,),) = postgres.rows(REPLIES)
    (answer,) = ask_repeatedly(url, page, 1, 0)
    return page, len(answer.body)
