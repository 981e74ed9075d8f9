"""Anonymous first pages: one read serves all requests for a second, and each response has headers of its own."""

import psycopg
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from lib import cache
from services import anonymous_pages
from tests.clock import Clock
from tests.conftest import FRONTEND, SignIn, links
from tests.factories import Make, User

HOME = "/api/activities/home"
OWN = {"X-Request-Id", "Server-Timing", "RateLimit"}


@pytest.fixture(autouse=True)
def full(make: Make) -> None:
    """Fill a feed with two pages."""
    author = make.user()
    for n in range(21):
        make.activity(author, f"{n} ü 😀")


def contents(response: TestResponse) -> tuple[str, bytes, list[tuple[str, str]]]:
    """Return status, body and headers, without the headers that differ per request."""
    return response.status, response.data, sorted(header for header in response.headers if header[0] not in OWN)


def is_cached(response: TestResponse) -> bool:
    """Return whether the request ran no query."""
    return "db;dur=0.00" in response.headers["Server-Timing"]


def test_cached_response_equals_uncached_response(
    subtests: pytest.Subtests, client: FlaskClient, cache_clock: Clock
) -> None:
    for headers in (
        {},
        {"Origin": FRONTEND},
        {"Origin": "https://evil.example"},
        {"Authorization": "Bearer null"},
        {"Content-Type": "application/json", "Accept": "application/problem+json"},
        {"Range": "bytes=0-1", "If-Match": '"other"'},
        {"If-None-Match": '"other"'},
        {"If-None-Match": "*"},
    ):
        cache_clock.now += cache.MAX_AGE_SECONDS
        with subtests.test(str(headers)):
            read = client.get(HOME, headers=headers)
            cached = client.get(HOME, headers=headers)
            tag = {"If-None-Match": read.headers["ETag"]}
            revalidated_cached = client.get(HOME, headers=headers | tag)
            cache_clock.now += cache.MAX_AGE_SECONDS
            revalidated_read = client.get(HOME, headers=headers | tag)

            responses = (read, cached, revalidated_cached, revalidated_read)
            assert [is_cached(each) for each in responses] == [False, True, True, False]
            assert contents(cached) == contents(read)
            assert contents(revalidated_cached) == contents(revalidated_read)
            assert (revalidated_read.status_code, revalidated_read.data) == (304, b"")
            assert 'rel="next"' in read.headers["Link"]


@pytest.mark.usefixtures("cache_clock")
def test_cached_response_carries_no_header_of_another_request(client: FlaskClient) -> None:
    first = client.get(HOME, headers={"X-Request-Id": "first", "Origin": FRONTEND})
    second = client.get(HOME, headers={"X-Request-Id": "second"})
    third = client.get(HOME)

    assert [len(each.headers.getlist("X-Request-Id")) for each in (first, second, third)] == [1, 1, 1]
    assert (first.headers["X-Request-Id"], second.headers["X-Request-Id"]) == ("first", "second")
    assert third.headers["X-Request-Id"] not in {"first", "second"}
    assert "Access-Control-Allow-Origin" in first.headers
    assert "Access-Control-Allow-Origin" not in second.headers
    assert first.headers.getlist("Vary") == second.headers.getlist("Vary") == third.headers.getlist("Vary")


@pytest.mark.usefixtures("cache_clock")
def test_first_page_is_cached_for_any_equivalent_query(subtests: pytest.Subtests, client: FlaskClient) -> None:
    client.get(HOME)

    for query in ("?limit=20", "?x=1", ""):
        with subtests.test(query):
            assert is_cached(client.get(HOME + query))


@pytest.mark.usefixtures("cache_clock")
def test_other_pages_and_authenticated_requests_bypass_cache(client: FlaskClient, sign_in: SignIn, make: Make) -> None:
    next_page = links(client.get(HOME))["next"]
    reader = sign_in(make.user())

    for _ in range(2):
        assert not is_cached(client.get(next_page))
        assert not is_cached(client.get(f"{HOME}?limit=19"))
        response = reader.get(HOME)
        assert not is_cached(response)
        assert response.headers["Cache-Control"] == "private, no-store"


@pytest.mark.usefixtures("cache_clock")
def test_failed_read_is_not_cached(client: FlaskClient, owner: psycopg.Connection) -> None:
    owner.execute("ALTER TABLE users RENAME COLUMN display_name TO name")
    assert client.get(HOME).status_code == 500
    owner.execute("ALTER TABLE users RENAME COLUMN name TO display_name")

    assert client.get(HOME).status_code == 200


@pytest.fixture
def lin(make: Make) -> User:
    """Create a user with an activity."""
    lin = make.user("lin")
    make.tag(make.activity(lin, "up in the #cloud"), "cloud")
    return lin


def test_change_shows_after_a_second(
    subtests: pytest.Subtests, client: FlaskClient, sign_in: SignIn, cache_clock: Clock, lin: User
) -> None:
    activity = client.get("/api/activities/@lin").json["activities"][0]
    thread = f"/api/activities/@lin/status/{activity['uuid']}"
    writer = sign_in(lin)

    def reply() -> None:
        """Reply to the activity."""
        assert writer.post(f"/api/activities/{activity['uuid']}/reply", json={"message": "a reply"}).status_code == 200

    def edit_profile() -> None:
        """Change the name."""
        assert writer.post("/api/profile/update", json={"display_name": "Lin Yue", "bio": ""}).status_code == 200

    def post() -> None:
        """Post an activity with the hashtag."""
        body = {"message": "another #cloud", "ttl": "1-day"}
        assert writer.post("/api/activities", json=body).status_code == 200

    for path, write in (
        (thread, reply),
        ("/api/activities/@lin", edit_profile),
        ("/api/activities/@lin?reposts=true", post),
        ("/api/activities/tagged/cloud", post),
    ):
        with subtests.test(path):
            cache_clock.now += cache.MAX_AGE_SECONDS
            before = client.get(path)
            write()
            cache_clock.now += cache.MAX_AGE_SECONDS - 0.001
            cached = client.get(path)
            own = writer.get(path)
            cache_clock.now += 0.001
            after = client.get(path)

            assert [is_cached(each) for each in (before, cached, own, after)] == [False, True, False, False]
            assert contents(cached) == contents(before)
            assert own.json != before.json
            assert after.json != before.json


def test_page_ends_with_the_first_activity_that_expires(
    subtests: pytest.Subtests, client: FlaskClient, make: Make, cache_clock: Clock, lin: User
) -> None:
    fading = make.tag(make.activity(lin, "fading #cloud"), "cloud")
    make.repost(fading, make.user("kofi"))

    for path in (
        "/api/activities/@lin",
        "/api/activities/@lin?reposts=true",
        "/api/activities/@kofi?reposts=true",
        # Without a reply the thread ends with the activity itself.
        f"/api/activities/@lin/status/{fading.uuid}",
        "/api/activities/tagged/cloud",
        HOME,
    ):
        with subtests.test(path):
            cache_clock.now += cache.MAX_AGE_SECONDS
            make.owner.execute(
                "UPDATE activities SET expires_at = now() + interval '600 ms' WHERE uuid = %s", [fading.uuid]
            )
            make.owner.execute("UPDATE taggings SET expires_at = now() + interval '600 ms'")
            assert not is_cached(client.get(path))
            # The page was read within the 600 ms, at an unknown time: it is kept for less than that.
            cache_clock.now += 0.6
            assert not is_cached(client.get(path))


@pytest.mark.parametrize("query", ["", "?reposts=true"])
def test_profile_ends_with_the_first_activity_that_it_counts(
    client: FlaskClient, make: Make, cache_clock: Clock, lin: User, query: str
) -> None:
    make.activity(lin, "below the first page", age="1 day", ttl="1 day 0.6 s")
    for _ in range(20):
        make.activity(lin)

    first = client.get(f"/api/activities/@lin{query}")
    assert first.json["profile"]["cruds_count"] == 22
    assert "below the first page" not in first.text
    cache_clock.now += 0.6

    assert not is_cached(client.get(f"/api/activities/@lin{query}"))


@pytest.mark.usefixtures("cache_clock")
def test_each_page_is_cached_by_itself(client: FlaskClient, make: Make, lin: User) -> None:
    other = make.activity(make.user("mira"), "another's")
    for path in ("/api/activities/@lin", "/api/activities/@mira", f"/api/activities/@mira/status/{other.uuid}"):
        assert not is_cached(client.get(path))

    assert is_cached(client.get("/api/activities/@LIN"))
    assert client.get("/api/activities/@mira").json["profile"]["handle"] == "mira"
    # The wrong author's address of a thread.
    assert client.get(f"/api/activities/@lin/status/{other.uuid}").status_code == 404
    for query in ("?reposts=true", "?reposts=false", "?limit=19"):
        assert not is_cached(client.get(f"/api/activities/@lin{query}"))
    assert lin.handle == "lin"


@pytest.mark.usefixtures("cache_clock")
def test_missing_page_is_not_cached(client: FlaskClient, make: Make) -> None:
    assert client.get("/api/activities/@new").status_code == 404

    make.user("new")

    assert client.get("/api/activities/@new").status_code == 200


@pytest.mark.usefixtures("cache_clock", "lin")
def test_parameter_of_another_route_is_in_no_cached_link(client: FlaskClient) -> None:
    client.get(f"{HOME}?term=x")

    assert "term" not in client.get(HOME).headers["Link"]
    assert "term" not in client.get(HOME).headers["Link"]


@pytest.mark.usefixtures("cache_clock", "lin")
def test_page_above_the_limit_is_not_kept(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    length = len(client.get("/api/activities/@lin?limit=19").data)
    for limit, is_kept in ((length - 1, False), (length, True)):
        monkeypatch.setattr(anonymous_pages, "MAX_KEPT_BYTES", limit)

        assert [is_cached(client.get("/api/activities/@lin")) for _ in range(2)] == [False, is_kept]
