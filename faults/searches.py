"""Anonymous clients that search for a term without a trigram: health checks and pages go on."""

from collections.abc import Iterator
from http import HTTPStatus

import psycopg

from bench.data import unpurged
from faults.drill import Figure, at_most, none_of
from faults.ground import SERVE, Ground, ground, serving
from faults.load import getting, load, not_ok, p99, slowest, status_of
from faults.raw_clients import ask_repeatedly
from faults.unprotected import without
from ops.command import Database
from ops.explain import measure, page_query
from services.search_activities import SEARCH, pattern

FEW, MANY = 8, 200
TERM = "zq"
PATH = f"/api/activities/search?term={TERM}"
# Between a searcher's response and its next request.
SEARCHER_PAUSE = 0.5
VISITS = 20_000
# A second apart, every second one expired; few texts, so that their trigrams are soon in the index.
ACTIVITIES = """
    INSERT INTO activities (user_uuid, message, expires_at, created_at)
    SELECT
        people.uuids[1 + n %% cardinality(people.uuids)],
        'about the plan of ' || n %% 100,
        CASE n %% 2 WHEN 0 THEN now() - interval '1 s' END,
        now() - (%s - n) * interval '1 s' - interval '1 minute'
    FROM (SELECT array_agg(users.uuid) AS uuids FROM users) AS people, generate_series(1, %s) AS n
"""


def searches(activities: int, questions: int, pause: float, broken: bool) -> Iterator[Figure]:  # noqa: FBT001 - as Drill.run is called
    """Search among so many activities, and ask for health checks and pages, with so many seconds between."""
    # They are gone at the end: no commit waits for the disk.
    with ground(options={"fsync": "off", "synchronous_commit": "off", "max_wal_size": "4GB"}) as postgres:
        postgres.rows(ACTIVITIES, activities, activities)
        postgres.rows("VACUUM (ANALYZE) activities")
        yield at_most("activities that a page of the search visits", VISITS, visited(postgres), "rows")
        # Half of the activities have expired, and stay.
        with (
            unpurged(Database("CONNECTION_URL", postgres.cluster.url())),
            serving(postgres.url, without("searches") if broken else SERVE) as service,
        ):
            for searchers in (FEW, MANY):
                yield from searched(
                    service.url, f"/api/activities/@{postgres.people[0].handle}", searchers, questions, pause
                )


def visited(postgres: Ground) -> int:
    """How many rows a page of the search visits."""
    with psycopg.connect(postgres.cluster.url(), autocommit=True) as connection:
        return measure(connection, page_query(TERM, SEARCH, words=[pattern(TERM)])).rows


def searched(url: str, profile: str, searchers: int, questions: int, pause: float) -> Iterator[Figure]:
    """Ask while so many clients search."""
    with load(url, searchers, getting(PATH), pause=SEARCHER_PAUSE) as answers:
        alive = ask_repeatedly(url, "/livez", questions, pause)
        profiles = ask_repeatedly(url, profile, questions, pause)
    found, refused = status_of(answers, HTTPStatus.OK), status_of(answers, HTTPStatus.SERVICE_UNAVAILABLE)
    by = f"with {searchers} searchers"
    yield none_of(f"{by}: /livez or a profile not 200, of {2 * questions}", not_ok(alive) + not_ok(profiles))
    yield at_most(f"{by}: slowest /livez", 500, 1000 * slowest(alive), "ms")
    yield at_most(f"{by}: a profile, p99", 500, 1000 * p99(profiles), "ms")
    odd = len(answers) - found - refused
    yield none_of(f"{by}: searches neither 200 ({found:,}) nor 503 ({refused:,})", odd)
