"""Large threads that are deleted: gone for their readers at once, and on every path soon."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus

from faults.backlog import OPTIONS, paused
from faults.drill import Figure, at_most, none_of
from harness.environment import Ground, ground, serving
from harness.load import Client

SHAPES = {"all to one activity": "1", "each to the one before": "numbered.n - 1"}
TEXT = "a thread about quokkas"
DELETED_MS, GONE_SECONDS = 500, 5
# Row n replies to the row that `parent` says. The first is the thread's root: that is by one person, the others are by
# another.
THREAD = """
    WITH people AS (
        SELECT root.uuid AS root, replier.uuid AS replier
        FROM users AS root JOIN users AS replier ON replier.handle = %s
        WHERE root.handle = %s
    ),
    numbered AS (
        SELECT n, gen_random_uuid() AS uuid, CASE WHEN n = 1 THEN people.root ELSE people.replier END AS author
        FROM people, generate_series(1, %s) AS n
    )
    INSERT INTO activities (
        uuid, user_uuid, message, search_text, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at
    )
    SELECT
        numbered.uuid, numbered.author, '{text}', '{text}', parent.uuid, parent.author,
        now() - interval '2 hours' + numbered.n * interval '1 ms', now() + interval '1 day'
    FROM numbered
    LEFT JOIN numbered AS parent ON parent.n = CASE WHEN numbered.n > 1 THEN {parent} END
"""
ROOT = f"""
    SELECT uuid::text FROM activities
    WHERE message = '{TEXT}' AND reply_to_activity_uuid IS NULL AND expires_at > now()
"""
PATHS = ("/api/activities/search?term=quokkas", "/api/activities/notifications")
LIVE = f"SELECT count(*) FROM live_activities WHERE message = '{TEXT}'"


def thread_deletion(replies: int, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Delete a thread of each shape, and look where it could still be."""
    with ground(options=OPTIONS) as postgres, ExitStack() as stack:
        service = stack.enter_context(serving(postgres.url))
        if broken:
            stack.enter_context(paused(postgres))
        author = postgres.people[0]
        for shape, parent in SHAPES.items():
            what, root = f"{replies:,} replies, {shape}", made(postgres, replies, parent)
            # Its own: one that idles for 5 s is closed.
            client = Client(service.url)
            answer = client.ask("DELETE", f"/api/activities/{root}", author.token)
            ended = time.monotonic()
            shown = client.get(f"/api/activities/@{author.handle}/status/{root}").status != HTTPStatus.NOT_FOUND
            yield none_of(f"{what}: not deleted, or shown after that", shown or not answer.is_ok)
            yield at_most(f"{what}: the deletion", DELETED_MS, 1000 * answer.seconds, "ms")
            while postgres.rows(LIVE) != [(0,)] and time.monotonic() < ended + GONE_SECONDS:
                time.sleep(0.02)
            yield at_most(f"{what}: none live after", GONE_SECONDS, time.monotonic() - ended, "s")
            pages = [Client(service.url).get(path, author.token).json() for path in PATHS]
            found = sum(TEXT in activity["message"] for page in pages for activity in page)
            yield none_of(f"{what}: found in search or notifications then", found)


def made(postgres: Ground, replies: int, parent: str) -> str:
    """A thread, by the uuid of its root."""
    author, replier = postgres.people[:2]
    postgres.rows("ALTER TABLE activities DISABLE TRIGGER activities_reply_made")
    postgres.rows(THREAD.format(parent=parent, text=TEXT), replier.handle, author.handle, replies + 1)
    postgres.rows("ALTER TABLE activities ENABLE TRIGGER activities_reply_made")
    postgres.rows("VACUUM (ANALYZE) activities")
    ((root,),) = postgres.rows(ROOT)
    return str(root)
