"""The requests of the scenarios."""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.data import READS
from harness.environment import HOME_FEED
from harness.wrk import Request
from ops import dev_keys
from ops.command import Database
from ops.dev_token import create_access_token
from ops.fake_data import WORDS

# So many users that a token is rarely the same as the one before.
SIGNED_IN = 1000
# The exponent of the Zipf distribution, and the number of requests that stand for a distribution.
ZIPF, DRAWN = 1.1, 100_000
USERS = f"SELECT users.cognito_user_id FROM users ORDER BY users.uuid LIMIT {SIGNED_IN}"
THREADS = """
    SELECT '/api/activities/@' || users.handle || '/status/' || live_activities.uuid
    FROM live_activities JOIN users ON users.uuid = live_activities.user_uuid
    WHERE live_activities.reply_to_activity_uuid IS NULL
    ORDER BY live_activities.uuid
    LIMIT 10000
"""
PROFILES = [f"/api/activities/@person_{n}" for n in range(1, READS.users + 1)]
RELATIONSHIPS = "/api/users/relationships?handles="
UNTIL = json.dumps({"until": "2026-01-01T00:00:00+00:00"})


def zipf(paths: Sequence[str], rng: random.Random, count: int = DRAWN) -> list[str]:
    """Draw paths, the one of rank r with a weight of 1 / r ** ZIPF. Their order does not decide the ranks."""
    weights = [rank**-ZIPF for rank in range(1, len(paths) + 1)]
    return rng.choices(rng.sample(paths, len(paths)), weights, k=count)


class Sources:
    """Random users, threads and profiles of a database. Some threads and profiles are drawn much more often."""

    def __init__(self, database: Database) -> None:
        self.rng, key = random.Random(1), dev_keys.load_or_create()
        with database.connect() as connection:
            self.tokens = [create_access_token(key, sub) for (sub,) in connection.execute(USERS.encode())]
            self.threads = [path for (path,) in connection.execute(THREADS.encode())]
        self.thread, self.profile = (iter(zipf(paths, self.rng)).__next__ for paths in (self.threads, PROFILES))


class Kind(NamedTuple):
    """A kind of request: how many an anonymous and a signed-in visit have, and what makes one for a token."""

    anonymous: float
    signed_in: float
    request: Callable[[Sources, str], Request]


def path(path: str) -> Callable[[Sources, str], Request]:
    """Return what makes a GET of the path."""
    return lambda _, token: Request(path, token)


def like(sources: Sources, token: str) -> Request:
    """Return a request to like an activity. In the last rounds some of them repeat a like."""
    return Request(f"/api/activities/{sources.rng.choice(sources.threads)[-36:]}/like", token, method="PUT")


def post(sources: Sources, token: str) -> Request:
    """Return a request to post an activity."""
    message = " ".join(sources.rng.choices(WORDS, k=8))
    return Request("/api/activities", token, json.dumps({"message": message, "ttl": "7-days"}), "POST")


# A visit to the page in backend-flask/web; half of the visits are signed in. The page polls everyone's first page each
# 10 s, without a token and by its ETag, and the unread count each 30 s. New posts change it between two polls: each is
# 200, and a signed-in page then reads its own. Assumed are five minutes, two of them at home, and the number of clicks.
VISIT = {
    "first page": Kind(1, 1, path(HOME_FEED)),
    "trends": Kind(1, 1, path("/api/trends")),
    "suggestions": Kind(0, 1, path("/api/users/suggested")),
    "poll": Kind(12, 12, lambda *_: Request(HOME_FEED, etag='"of the poll before"')),
    "first page after a poll": Kind(0, 12, path(HOME_FEED)),
    "thread": Kind(4, 4, lambda sources, token: Request(sources.thread(), token)),
    "profile": Kind(3, 3, lambda sources, token: Request(f"{sources.profile()}?reposts=true", token)),
    "relationship": Kind(0, 3, lambda sources, token: Request(f"{RELATIONSHIPS}{sources.profile()[17:]}", token)),
    "following": Kind(0, 1, path("/api/activities/following")),
    "notifications": Kind(0, 1, path("/api/notifications")),
    "notifications read": Kind(0, 1, lambda _, token: Request("/api/notifications/read", token, UNTIL, "PUT")),
    "unread count": Kind(0, 10, path("/api/notifications/unread")),
    "like": Kind(0, 2, like),
    "post": Kind(0, 0.5, post),
}


def shares() -> dict[tuple[str, bool], float]:
    """Return the share of each kind in the mixed load, by its name and whether it is signed in."""
    counts = {(name, bool(n)): count for name, kind in VISIT.items() for n, count in enumerate(kind[:2])}
    return {kind: count / sum(counts.values()) for kind, count in counts.items()}


def mixed(database: Database) -> list[Request]:
    """Return requests as the page sends them."""
    sources = Sources(database)
    kinds = sources.rng.choices(list(shares()), list(shares().values()), k=DRAWN)
    return [
        VISIT[name].request(sources, sources.rng.choice(sources.tokens) if is_signed_in else "")
        for name, is_signed_in in kinds
    ]


def signed_in(name: str, count: int, database: Database) -> list[Request]:
    """Return signed-in requests of one kind."""
    sources = Sources(database)
    return [VISIT[name].request(sources, sources.tokens[n % SIGNED_IN]) for n in range(count)]


def sample(requests: Sequence[Request], seed: int) -> list[Request]:
    """Return a few of the requests: one of each kind at least. Those that write come last."""
    shuffled = random.Random(seed).sample(requests, len(requests))
    kinds = {(re.sub(r"@\w+|[0-9a-f-]{36}", "", each.path), bool(each.token), each.method): each for each in shuffled}
    return sorted([*kinds.values(), *shuffled[:5]], key=lambda each: each.method)
