"""The first page of the anonymous home feed: one read serves all requests, and each has its own response headers."""

import psycopg
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from lib import cache
from tests.clock import Clock
from tests.conftest import FRONTEND, SignIn, links
from tests.factories import Make

HOME = "/api/activities/home"
OWN = {"X-Request-Id", "Server-Timing", "RateLimit"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock that measures the cached page's age."""
    clock = Clock()
    monkeypatch.setattr(cache, "time", clock)
    return clock


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


def test_cached_response_equals_uncached_response(subtests: pytest.Subtests, client: FlaskClient, clock: Clock) -> None:
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
        clock.now += cache.MAX_AGE_SECONDS
        with subtests.test(str(headers)):
            read = client.get(HOME, headers=headers)
            cached = client.get(HOME, headers=headers)
            tag = {"If-None-Match": read.headers["ETag"]}
            revalidated_cached = client.get(HOME, headers=headers | tag)
            clock.now += cache.MAX_AGE_SECONDS
            revalidated_read = client.get(HOME, headers=headers | tag)

            responses = (read, cached, revalidated_cached, revalidated_read)
            assert [is_cached(each) for each in responses] == [False, True, True, False]
            assert contents(cached) == contents(read)
            assert contents(revalidated_cached) == contents(revalidated_read)
            assert (revalidated_read.status_code, revalidated_read.data) == (304, b"")
            assert 'rel="next"' in read.headers["Link"]


@pytest.mark.usefixtures("clock")
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


@pytest.mark.usefixtures("clock")
def test_first_page_is_cached_for_any_equivalent_query(subtests: pytest.Subtests, client: FlaskClient) -> None:
    client.get(HOME)

    for query in ("?limit=20", "?x=1", ""):
        with subtests.test(query):
            assert is_cached(client.get(HOME + query))


@pytest.mark.usefixtures("clock")
def test_other_pages_and_authenticated_requests_bypass_cache(client: FlaskClient, sign_in: SignIn, make: Make) -> None:
    next_page = links(client.get(HOME))["next"]
    reader = sign_in(make.user())

    for _ in range(2):
        assert not is_cached(client.get(next_page))
        assert not is_cached(client.get(f"{HOME}?limit=19"))
        response = reader.get(HOME)
        assert not is_cached(response)
        assert response.headers["Cache-Control"] == "private, no-store"


@pytest.mark.usefixtures("clock")
def test_failed_read_is_not_cached(client: FlaskClient, owner: psycopg.Connection) -> None:
    owner.execute("ALTER TABLE users RENAME COLUMN display_name TO name")
    assert client.get(HOME).status_code == 500
    owner.execute("ALTER TABLE users RENAME COLUMN name TO display_name")

    assert client.get(HOME).status_code == 200
