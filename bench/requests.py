"""The requests of the scenarios."""

import json
import random
import re
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TypeVar

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
ACTIVITIES = """
    SELECT live_activities.uuid, users.handle
    FROM live_activities JOIN users ON users.uuid = live_activities.user_uuid
    WHERE live_activities.reply_to_activity_uuid IS NULL
    ORDER BY live_activities.uuid
    LIMIT 10000
"""
NOTIFICATIONS = "/api/notifications"
UNTIL = json.dumps({"until": "2026-01-01T00:00:00+00:00"})
# The requests of a visit to the page in backend-flask/web, by an anonymous and by a signed-in user. The intervals are the
# page's: everyone's first page each 10 s, without a token and by its ETag, and the unread count each 30 s. New posts change
# that page between two polls, so each is 200, and a signed-in page then reads its user's. Invented are the visit's five
# minutes, two of them on the home page, and the number of clicks. Half of the visits are signed in. Trends and suggestions
# beside the home page are left out.
VISIT = {
    "first page": (1, 1),
    "poll": (12, 12),
    "first page after a poll": (0, 12),
    "thread": (4, 4),
    "profile": (3, 3),
    "following": (0, 1),
    "notifications": (0, 1),
    "notifications read": (0, 1),
    "unread count": (0, 10),
    "like": (0, 2),
    "post": (0, 0.5),
}

T = TypeVar("T")


def shares() -> dict[tuple[str, bool], float]:
    """Return the share of each kind of request in the mixed load, by its name and whether it is signed in."""
    total = sum(map(sum, VISIT.values()))
    return {(kind, bool(index)): count / total for kind, row in VISIT.items() for index, count in enumerate(row)}


def zipf(items: Sequence[T], rng: random.Random, count: int = DRAWN) -> list[T]:
    """Draw from the items, the one of rank r with a weight of 1 / r ** ZIPF. Their order does not decide the ranks."""
    weights = [rank**-ZIPF for rank in range(1, len(items) + 1)]
    return rng.choices(rng.sample(items, len(items)), weights, k=count)


def profiles(_: Database) -> list[Request]:
    """Return a request for the profile of each user."""
    return [Request(f"/api/activities/@person_{n}") for n in range(1, READS.users + 1)]


def popular_profiles(database: Database) -> list[Request]:
    """Return requests for profiles, some of which are read much more often than others."""
    return zipf(profiles(database), random.Random(1))


def first_page(_: Database) -> list[Request]:
    """Return the anonymous request for the first page."""
    return [Request(HOME_FEED)]


def threads(database: Database) -> list[Request]:
    """Return requests for activities."""
    with database.connect() as connection:
        rows = connection.execute(ACTIVITIES.encode())
        return [Request(f"/api/activities/@{handle}/status/{uuid}") for uuid, handle in rows]


def signed_in(path: str) -> Callable[[Database], list[Request]]:
    """Return the function that returns a request of each of many users for a path."""

    def requests(database: Database) -> list[Request]:
        key = dev_keys.load_or_create()
        with database.connect() as connection:
            subs = connection.execute("SELECT cognito_user_id FROM users ORDER BY uuid LIMIT %s", [SIGNED_IN])
            return [Request(path, create_access_token(key, sub)) for (sub,) in subs]

    return requests


home = signed_in(HOME_FEED)


def posts(database: Database) -> list[Request]:
    """Return requests to post an activity."""
    return [post(request.token, random.Random(n)) for n, request in enumerate(home(database))]


def post(token: str, rng: random.Random) -> Request:
    """Return a request to post an activity."""
    message = " ".join(rng.choices(WORDS, k=8))
    return Request("/api/activities", token, json.dumps({"message": message, "ttl": "7-days"}), "POST")


def likes(database: Database) -> list[Request]:
    """Return requests to like an activity. In the last rounds some of them repeat a like."""
    rng, users, activities = random.Random(1), home(database), threads(database)
    return [like(rng.choice(users).token, rng.choice(activities)) for _ in range(DRAWN)]


def like(token: str, thread: Request) -> Request:
    """Return a request to like the activity of a thread."""
    return Request(f"/api/activities/{thread.path[-36:]}/like", token, method="PUT")


def mixed(database: Database) -> list[Request]:
    """Return requests as the page sends them."""
    rng, users = random.Random(1), home(database)
    popular = cycle(popular_profiles(database)).__next__
    thread = cycle(zipf(threads(database), rng)).__next__
    kinds: dict[str, Callable[[str], Request]] = {
        "first page": lambda token: Request(HOME_FEED, token),
        "poll": lambda _: Request(HOME_FEED, etag='"of the poll before"'),
        "first page after a poll": lambda token: Request(HOME_FEED, token),
        "thread": lambda token: thread()._replace(token=token),
        "profile": lambda token: Request(f"{popular().path}?reposts=true", token),
        "following": lambda token: Request("/api/activities/following", token),
        "notifications": lambda token: Request(NOTIFICATIONS, token),
        "notifications read": lambda token: Request(f"{NOTIFICATIONS}/read", token, UNTIL, "PUT"),
        "unread count": lambda token: Request(f"{NOTIFICATIONS}/unread", token),
        "like": lambda token: like(token, thread()),
        "post": lambda token: post(token, rng),
    }
    drawn = rng.choices(list(shares()), list(shares().values()), k=DRAWN)
    return [kinds[kind](rng.choice(users).token if is_signed_in else "") for kind, is_signed_in in drawn]


def sample(requests: Sequence[Request]) -> list[Request]:
    """Return a few of the requests: one of each kind at least. Those that write come last."""
    kinds = {(re.sub(r"@\w+|[0-9a-f-]{36}", "", each.path), bool(each.token), each.method): each for each in requests}
    some = random.Random(1).sample(requests, min(len(requests), 5))
    return sorted([*kinds.values(), *some], key=lambda each: each.method)
