"""Search."""

import pytest
from flask.testing import FlaskClient

from tests.conftest import links
from tests.make import Make

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
