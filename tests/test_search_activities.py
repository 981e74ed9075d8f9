"""Search: matching, limits, pagination and concurrency."""

import threading
import unicodedata
from collections.abc import Iterator

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg import Connection
from werkzeug.test import TestResponse

from tests.conftest import SignIn, links
from tests.factories import Make

SEARCH = "/api/activities/search"


def search_messages(client: FlaskClient, term: str) -> list[str]:
    """Return the messages that a search for `term` finds."""
    response = client.get(SEARCH, query_string={"term": term})
    assert response.status_code == 200
    return [shown["message"] for shown in response.json]


def test_search_matches_words_and_parts_in_any_case_and_order(client: FlaskClient, make: Make) -> None:
    make.activity(make.user(), "This was imported as seed data!")
    make.activity(make.user(), "A bystander")

    for term in (
        *("seed", "SEED", "imported", "port", "data!"),
        *("seed data", "data seed", "  was\tse ", "this was imported as seed data!"),
    ):
        assert search_messages(client, term) == ["This was imported as seed data!"], term


def test_search_requires_every_word(client: FlaskClient, make: Make) -> None:
    make.activity(make.user(), "This was imported as seed data!")

    for term in ("seed nothing", "nothing seed", "imported no", "no imported"):
        assert search_messages(client, term) == []


def test_search_is_case_insensitive_beyond_ascii(client: FlaskClient, make: Make) -> None:
    make.activity(make.user(), "Un CAFFÈ, ☕ per favore")

    assert search_messages(client, "caffè") == ["Un CAFFÈ, ☕ per favore"]
    assert search_messages(client, "☕") == ["Un CAFFÈ, ☕ per favore"]


def post(client: FlaskClient, message: str) -> TestResponse:
    """Create an activity."""
    response = client.post("/api/activities", json={"message": message, "ttl": "1-day"})
    assert response.status_code == 200
    return response


NFC, NFD = "caf\u00e9", "cafe\u0301"
# Equal as Postgres compares rows that another program than the service wrote: NFKC, and lower case.
ALIKE = [
    *((NFC, NFD), (NFD, NFC), (NFC, NFD.upper()), ("한글", unicodedata.normalize("NFD", "한글"))),
    *(
        ("ﬁle №5", "file no5"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
        ("file no5", "ﬁle №5"),
        ("Å", "\u212b"),
        ("x²", "X2"),
    ),
]
# Equal after full case folding, and without the characters that Unicode calls default-ignorable.
FOLDED = [
    *(("STRASSE", "Straße"), ("Straße", "STRASSE"), ("ΜΈΓΑΣ", "μέγας"), ("μέγας", "μέγαΣ"), ("ŉ", "ʼn"), ("Ǆ", "ǆ")),
    *(("❤", "❤️"), ("❤️", "❤"), ("co\u00adop", "coop"), ("coop", "co\u00adop"), ("می‌خواهم", "میخواهم")),
]


def test_search_matches_equivalent_text(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())
    post(client, "A bystander")

    for message, term in ALIKE + FOLDED:
        with subtests.test(ascii(term)):
            created = post(client, message)
            # The message is returned as sent.
            assert search_messages(client, term) == [message]
            client.delete(f"/api/activities/{created.json['uuid']}")


def test_search_matches_rows_written_by_another_program(
    subtests: pytest.Subtests, client: FlaskClient, make: Make
) -> None:
    author = make.user()
    make.activity(make.user(), "A bystander")

    for message, term in ALIKE:
        written = make.activity(author, message)
        with subtests.test(ascii(term), message=ascii(message)):
            assert search_messages(client, term) == [message]
        make.expire(written)


def test_search_normalises_replies_too(sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())
    question = make.activity(make.user())
    client.post(f"/api/activities/{question.uuid}/reply", json={"message": "Straße"})

    assert search_messages(client, "STRASSE") == ["Straße"]


def test_search_takes_like_and_sql_characters_literally(
    subtests: pytest.Subtests, client: FlaskClient, make: Make
) -> None:
    author = make.user()
    make.activity(make.user(), "axb 1000 cd bystander")

    for term in ("100%", "a_b", "c\\d", "'; DROP TABLE users --", "%", "_", "\\"):
        activity = make.activity(author, f"before {term} after")
        with subtests.test(term):
            assert search_messages(client, term) == [f"before {term} after"]
        make.expire(activity)


def test_search_returns_live_activities_and_replies_newest_first(client: FlaskClient, make: Make) -> None:
    author = make.user()
    question = make.activity(author, "a word", age="2 minutes")
    make.activity(author, "words in a reply", age="1 minute", reply_to=question)
    make.activity(author, "last words", age="1 hour", ttl="1 hour")

    assert search_messages(client, "word") == ["words in a reply", "a word"]


def test_blank_search_term_is_refused(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for query in ("", "?term=", "?term=%20%09%C2%A0", "?other=x"):
        with subtests.test(query):
            response = client.get(SEARCH + query)

            assert (response.status_code, response.json) == (422, ["search_term_blank"])


def test_search_term_is_limited_to_100_characters(client: FlaskClient, make: Make) -> None:
    make.activity(make.user(), "é" * 100)

    assert search_messages(client, "é" * 100) == ["é" * 100]
    for term in ("é" * 101, "x" * 10_000):
        response = client.get(SEARCH, query_string={"term": term})
        assert (response.status_code, response.json) == (422, ["search_term_exceed_max_chars"])


def test_malformed_search_term_is_refused(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for query in ("term=a%00b", "term=%FF", "term=%ED%A0%80", "term=a&x=%00", "%00=a&term=b"):
        with subtests.test(query):
            response = client.get(f"{SEARCH}?{query}")

            assert (response.status_code, response.json) == (400, ["json_invalid"])


def test_search_pages_keep_the_term(client: FlaskClient, make: Make) -> None:
    for n in range(5):
        make.activity(make.user(), f"R&D {n}", age=f"{n + 1} minutes")
        make.activity(make.user(), "a bystander", age=f"{n + 1} minutes")

    first = client.get(SEARCH, query_string={"term": "R&D", "limit": "3"})
    second = client.get(links(first)["next"])

    assert [shown["message"] for shown in first.json] == ["R&D 0", "R&D 1", "R&D 2"]
    assert [shown["message"] for shown in second.json] == ["R&D 3", "R&D 4"]


# The maximum number of activities that a page of a search visits.
VISITS = 20_000
# Activities of one author, a second apart, the newest a second old. Every other activity has expired.
CROWD = """
    INSERT INTO activities (user_uuid, message, expires_at, created_at)
    SELECT %(author)s, %(message)s, CASE n %% 2 WHEN 0 THEN now() - interval '1 ms' END, now() - n * interval '1 s'
    FROM generate_series(1, %(count)s) AS n
"""


def make_crowd(make: Make, count: int, message: str = "of the crowd") -> None:
    """Create `count` activities, the newest a second old."""
    make.owner.execute(CROWD, {"author": make.user().uuid, "message": message, "count": count})


def search(client: FlaskClient, term: str, **args: str) -> TestResponse:
    """Return a page of a search."""
    return client.get(SEARCH, query_string={"term": term, **args})


def pages(client: FlaskClient, page: TestResponse, relation: str) -> Iterator[TestResponse]:
    """Yield the page, and all that follow it by `relation`."""
    yield page
    while relation in links(page):
        page = client.get(links(page)[relation])
        assert page.status_code == 200
        yield page


def messages(found_pages: list[TestResponse]) -> list[list[str]]:
    """Return the messages of each page."""
    return [[shown["message"] for shown in page.json] for page in found_pages]


def test_search_without_an_index_visits_20000_activities_per_page(
    subtests: pytest.Subtests, client: FlaskClient, make: Make
) -> None:
    make_crowd(make, VISITS)
    author = make.user()

    # No term has a trigram that pg_trgm would find in every match.
    for term in ("zq", "z q", "%%", "!!!", "-z", "a-z a_z"):
        match = make.activity(author, f"holds {term}", age="1 day")
        with subtests.test(term):
            first = search(client, term)
            second = client.get(links(first)["next"])

            # Expired activities count as visited.
            assert first.json == []
            assert "prev" not in links(first)
            assert messages([second]) == [[f"holds {term}"]]
            assert "next" not in links(second)
        make.expire(match)


def test_last_activity_visited_by_a_page_is_found(client: FlaskClient, make: Make) -> None:
    make_crowd(make, VISITS - 1)
    make.activity(make.user(), "the last zq", age="1 day")
    make.activity(make.user(), "one beyond zq", age="2 days")

    assert messages(list(pages(client, search(client, "zq"), "next"))) == [["the last zq"], ["one beyond zq"]]


def test_search_that_visits_all_activities_has_no_links(client: FlaskClient, make: Make) -> None:
    make_crowd(make, VISITS - 2)
    make.activity(make.user(), "the last zq", age="1 day")

    page = search(client, "zq")

    assert messages([page]) == [["the last zq"]]
    assert "Link" not in page.headers


def test_short_pages_lead_to_every_match_in_both_directions(client: FlaskClient, make: Make) -> None:
    author = make.user()
    make_crowd(make, 2 * VISITS + 5_000)
    # Matches among the crowd: two of one instant, and one at each end.
    ages = ["0 s", "1.5 s", "19990 s", "20010 s", "20010 s", "44000 s", "44000.5 s", "2 days"]
    expected = [f"{n} zq" for n in range(len(ages))]
    for message, age in zip(expected, ages, strict=True):
        make.activity(author, message, age=age)
    make.activity(author, "zq expired", age="1 hour", ttl="1 minute")

    forwards = list(pages(client, search(client, "zq", limit="2"), "next"))
    backwards = list(pages(client, forwards[-1], "prev"))

    # The two matches of one instant may be in either order.
    found_forwards = [message for page in messages(forwards) for message in page]
    found_backwards = [message for page in reversed(messages(backwards)) for message in page]
    assert sorted(found_forwards) == expected
    # Some pages before the last are short.
    assert any(len(page) < 2 for page in messages(forwards)[:-1])
    assert found_backwards == found_forwards


def test_search_for_a_frequent_word_fills_its_pages(client: FlaskClient, make: Make) -> None:
    make_crowd(make, 5_000, "ordinary words")
    make.activity(make.user(), "extraordinary words", age="1 day")

    forwards = list(pages(client, search(client, "ordinary words", limit="100"), "next"))

    assert [len(page) for page in messages(forwards)] == [100] * 25 + [1]
    assert messages(forwards)[-1] == ["extraordinary words"]


def test_rare_word_is_found_beyond_20000_activities(client: FlaskClient, make: Make) -> None:
    make_crowd(make, VISITS + 1)
    make.activity(make.user(), "a quokka is up", age="1 day")

    page = search(client, "is quokka")

    assert messages([page]) == [["a quokka is up"]]
    assert "Link" not in page.headers


def test_second_concurrent_search_is_refused_at_once(
    app: Flask, client: FlaskClient, make: Make, owner: Connection, owner_url: str
) -> None:
    make.activity(make.user("LinYue"), "a zq")
    first: list[TestResponse] = []
    with psycopg.connect(owner_url) as locker:
        # The first search waits for the lock, and holds its turn.
        locker.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        searching = threading.Thread(target=lambda: first.append(search(app.test_client(), "zq")))
        searching.start()
        wait_for_lock(owner)

        refused = search(client, "zq")
        invalid = search(client, " ")
        short = client.get("/api/users/@LinYue/short")
        locker.rollback()
    searching.join()

    assert (refused.status_code, refused.json) == (503, ["service_unavailable"])
    assert int(refused.headers["Retry-After"]) > 0
    # Requests that need no turn succeed.
    assert (invalid.status_code, short.status_code) == (422, 200)
    assert messages(first) == [["a zq"]]
    assert search_messages(client, "zq") == ["a zq"]


def test_failed_search_releases_its_turn(client: FlaskClient, make: Make, owner: Connection) -> None:
    make.activity(make.user(), "a zq")
    owner.execute("ALTER TABLE activities RENAME TO away")
    failure = search(client, "zq")
    owner.execute("ALTER TABLE away RENAME TO activities")

    assert failure.status_code == 500
    assert search_messages(client, "zq") == ["a zq"]


def wait_for_lock(owner: Connection) -> None:
    """Wait until a statement waits for a lock."""
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not owner.execute(waiting).fetchall():
        pass
