"""Search."""

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


def found(client: FlaskClient, term: str) -> list[str]:
    """What a search for `term` finds."""
    answer = client.get(SEARCH, query_string={"term": term})
    assert answer.status_code == 200
    return [shown["message"] for shown in answer.json]


@pytest.mark.parametrize(
    "term",
    [
        "seed",
        "SEED",
        "imported",
        "port",
        "data!",
        "seed data",
        "data seed",
        "  was\tse ",
        "this was imported as seed data!",
    ],
)
def test_search_finds_words_and_parts_of_words_in_any_case_and_order(
    client: FlaskClient, make: Make, term: str
) -> None:
    make.activity(make.user(), "This was imported as seed data!")
    make.activity(make.user(), "A bystander")

    assert found(client, term) == ["This was imported as seed data!"]


def test_search_wants_every_word(client: FlaskClient, make: Make) -> None:
    make.activity(make.user(), "This was imported as seed data!")

    for term in ("seed nothing", "nothing seed", "imported no", "no imported"):
        assert found(client, term) == []


def test_search_knows_upper_and_lower_case_beyond_ascii(client: FlaskClient, make: Make) -> None:
    make.activity(make.user(), "Un CAFFÈ, ☕ per favore")

    assert found(client, "caffè") == ["Un CAFFÈ, ☕ per favore"]
    assert found(client, "☕") == ["Un CAFFÈ, ☕ per favore"]


def post(client: FlaskClient, message: str) -> None:
    """Publish an activity."""
    assert client.post("/api/activities", json={"message": message, "ttl": "1-day"}).status_code == 200


NFC, NFD = "caf\u00e9", "cafe\u0301"
# Compared as Postgres can, where something else than the service wrote the row: NFKC, and lower case.
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
# Full case folding, and what Unicode calls ignorable left out.
FOLDED = [
    *(("STRASSE", "Straße"), ("Straße", "STRASSE"), ("ΜΈΓΑΣ", "μέγας"), ("μέγας", "μέγαΣ"), ("ŉ", "ʼn"), ("Ǆ", "ǆ")),
    *(("❤", "❤️"), ("❤️", "❤"), ("co\u00adop", "coop"), ("coop", "co\u00adop"), ("می‌خواهم", "میخواهم")),
]


@pytest.mark.parametrize(("message", "term"), ALIKE + FOLDED, ids=ascii)
def test_search_takes_equivalent_text_for_the_same(sign_in: SignIn, make: Make, message: str, term: str) -> None:
    client = sign_in(make.user())
    post(client, "A bystander")
    post(client, message)

    # As it was sent.
    assert found(client, term) == [message]


@pytest.mark.parametrize(("message", "term"), ALIKE, ids=ascii)
def test_search_finds_text_that_something_else_has_written(
    client: FlaskClient, make: Make, message: str, term: str
) -> None:
    make.activity(make.user(), message)
    make.activity(make.user(), "A bystander")

    assert found(client, term) == [message]


def test_search_looks_at_replies_in_the_same_form(sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())
    question = make.activity(make.user())
    client.post(f"/api/activities/{question.uuid}/reply", json={"message": "Straße"})

    assert found(client, "STRASSE") == ["Straße"]


@pytest.mark.parametrize("term", ["100%", "a_b", "c\\d", "'; DROP TABLE users --", "%", "_", "\\"])
def test_search_takes_every_sign_for_itself(client: FlaskClient, make: Make, term: str) -> None:
    make.activity(make.user(), f"before {term} after")
    make.activity(make.user(), "axb 1000 cd bystander")

    assert found(client, term) == [f"before {term} after"]


def test_search_finds_what_is_live_newest_first_replies_too(client: FlaskClient, make: Make) -> None:
    author = make.user()
    question = make.activity(author, "a word", age="2 minutes")
    make.activity(author, "words in a reply", age="1 minute", reply_to=question)
    make.activity(author, "last words", age="1 hour", ttl="1 hour")

    assert found(client, "word") == ["words in a reply", "a word"]


@pytest.mark.parametrize("query", ["", "?term=", "?term=%20%09%C2%A0", "?other=x"])
def test_search_for_nothing_is_refused(client: FlaskClient, query: str) -> None:
    answer = client.get(SEARCH + query)

    assert (answer.status_code, answer.json) == (422, ["search_term_blank"])


def test_search_takes_a_hundred_characters_and_no_more(client: FlaskClient, make: Make) -> None:
    make.activity(make.user(), "é" * 100)

    assert found(client, "é" * 100) == ["é" * 100]
    for term in ("é" * 101, "x" * 10_000):
        answer = client.get(SEARCH, query_string={"term": term})
        assert (answer.status_code, answer.json) == (422, ["search_term_exceed_max_chars"])


@pytest.mark.parametrize("query", ["term=a%00b", "term=%FF", "term=%ED%A0%80", "term=a&x=%00", "%00=a&term=b"])
def test_search_refuses_what_is_no_text(client: FlaskClient, query: str) -> None:
    answer = client.get(f"{SEARCH}?{query}")

    assert (answer.status_code, answer.json) == (400, ["json_invalid"])


def test_search_is_paged_and_keeps_its_term(client: FlaskClient, make: Make) -> None:
    for n in range(5):
        make.activity(make.user(), f"R&D {n}", age=f"{n + 1} minutes")
        make.activity(make.user(), "a bystander", age=f"{n + 1} minutes")

    first = client.get(SEARCH, query_string={"term": "R&D", "limit": "3"})
    second = client.get(links(first)["next"])

    assert [shown["message"] for shown in first.json] == ["R&D 0", "R&D 1", "R&D 2"]
    assert [shown["message"] for shown in second.json] == ["R&D 3", "R&D 4"]


# What a page of a search visits at most.
VISITS = 20_000
# Of one author, a second apart, from a second ago on; every second one has expired.
CROWD = """
    INSERT INTO activities (user_uuid, message, expires_at, created_at)
    SELECT %(author)s, %(message)s, CASE n %% 2 WHEN 0 THEN now() - interval '1 ms' END, now() - n * interval '1 s'
    FROM generate_series(1, %(count)s) AS n
"""


def make_crowd(make: Make, count: int, message: str = "of the crowd") -> None:
    """So many activities, the newest a second old."""
    make.owner.execute(CROWD, {"author": make.user().uuid, "message": message, "count": count})


def search(client: FlaskClient, term: str, **args: str) -> TestResponse:
    """A page of a search."""
    return client.get(SEARCH, query_string={"term": term, **args})


def pages(client: FlaskClient, page: TestResponse, relation: str) -> Iterator[TestResponse]:
    """The page, and all that follow it by `relation`."""
    yield page
    while relation in links(page):
        page = client.get(links(page)[relation])
        assert page.status_code == 200
        yield page


def messages(found_pages: list[TestResponse]) -> list[list[str]]:
    """What each page shows."""
    return [[shown["message"] for shown in page.json] for page in found_pages]


# None has a trigram that pg_trgm would find in every match.
@pytest.mark.parametrize("term", ["zq", "z q", "%%", "!!!", "-z", "a-z a_z"])
def test_a_search_without_an_index_visits_twenty_thousand_activities_a_page(
    client: FlaskClient, make: Make, term: str
) -> None:
    make_crowd(make, VISITS)
    make.activity(make.user(), f"holds {term}", age="1 day")

    first = search(client, term)
    second = client.get(links(first)["next"])

    # Expired activities count as visited.
    assert first.json == []
    assert "prev" not in links(first)
    assert messages([second]) == [[f"holds {term}"]]
    assert "next" not in links(second)


def test_the_last_activity_that_a_page_visits_is_found(client: FlaskClient, make: Make) -> None:
    make_crowd(make, VISITS - 1)
    make.activity(make.user(), "the last zq", age="1 day")
    make.activity(make.user(), "one beyond zq", age="2 days")

    assert messages(list(pages(client, search(client, "zq"), "next"))) == [["the last zq"], ["one beyond zq"]]


def test_a_search_that_visits_all_there_are_is_at_its_end(client: FlaskClient, make: Make) -> None:
    make_crowd(make, VISITS - 2)
    make.activity(make.user(), "the last zq", age="1 day")

    page = search(client, "zq")

    assert messages([page]) == [["the last zq"]]
    assert "Link" not in page.headers


def test_pages_that_are_short_lead_to_every_match_both_ways(client: FlaskClient, make: Make) -> None:
    author = make.user()
    make_crowd(make, 2 * VISITS + 5_000)
    # Among them, of one instant some, and at both ends.
    ages = ["0 s", "1.5 s", "19990 s", "20010 s", "20010 s", "44000 s", "44000.5 s", "2 days"]
    expected = [f"{n} zq" for n in range(len(ages))]
    for message, age in zip(expected, ages, strict=True):
        make.activity(author, message, age=age)
    make.activity(author, "zq expired", age="1 hour", ttl="1 minute")

    there = list(pages(client, search(client, "zq", limit="2"), "next"))
    back = list(pages(client, there[-1], "prev"))

    # The two of one instant may be in either order.
    found_there = [message for page in messages(there) for message in page]
    found_back = [message for page in reversed(messages(back)) for message in page]
    assert sorted(found_there) == expected
    # Short pages are among them, and are not the end.
    assert any(len(page) < 2 for page in messages(there)[:-1])
    assert found_back == found_there


def test_a_search_for_a_word_of_many_activities_fills_its_pages(client: FlaskClient, make: Make) -> None:
    make_crowd(make, 5_000, "ordinary words")
    make.activity(make.user(), "extraordinary words", age="1 day")

    there = list(pages(client, search(client, "ordinary words", limit="100"), "next"))

    assert [len(page) for page in messages(there)] == [100] * 25 + [1]
    assert messages(there)[-1] == ["extraordinary words"]


def test_a_rare_word_is_found_beyond_twenty_thousand_activities(client: FlaskClient, make: Make) -> None:
    make_crowd(make, VISITS + 1)
    make.activity(make.user(), "a quokka is up", age="1 day")

    page = search(client, "is quokka")

    assert messages([page]) == [["a quokka is up"]]
    assert "Link" not in page.headers


def test_one_search_runs_at_a_time_and_the_next_is_refused_at_once(
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
    # What needs no turn is answered.
    assert (invalid.status_code, short.status_code) == (422, 200)
    assert messages(first) == [["a zq"]]
    assert found(client, "zq") == ["a zq"]


def test_a_search_that_fails_gives_its_turn_back(client: FlaskClient, make: Make, owner: Connection) -> None:
    make.activity(make.user(), "a zq")
    owner.execute("ALTER TABLE activities RENAME TO away")
    failed = search(client, "zq")
    owner.execute("ALTER TABLE away RENAME TO activities")

    assert failed.status_code == 500
    assert found(client, "zq") == ["a zq"]


def wait_for_lock(owner: Connection) -> None:
    """Wait until a statement waits for a lock."""
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not owner.execute(waiting).fetchall():
        pass
