"""Valid text: one table of cases for the service and for the schema, which accepts more in places."""

from typing import NamedTuple

import psycopg
import pytest
from psycopg import Connection
from werkzeug.test import TestResponse

from lib import text
from tests.conftest import SignIn
from tests.factories import Make

BLANK, INVALID = "blank", "invalid"


class Case(NamedTuple):
    """A text, its error as a message or search term, its error as a name, and the errors that the schema misses."""

    text: str
    message: str | None = None
    name: str | None = None
    # The uses for which SQL cannot express the rule: "message", "name".
    schema_takes: tuple[str, ...] = ()


BOTH = ("message", "name")
CASES = [
    *(Case(text) for text in ("x", " x ", "\u00e9", "e\u0301", "\u0301", "0", "\ufffd", "\U0010fffd", "한글")),
    # Visible: characters of the category Cf, and a code point that Unicode has not assigned yet.
    *(Case(text) for text in ("\u06dd", "\u0600", "\U000e1000", "\u0378")),
    # Joiners, variation selectors and directional marks belong to their neighbouring characters.
    *(
        Case(text)
        for text in ("👩‍👩‍👧‍👦", "❤️", "می‌خواهم", "\u200fשלום\u200f", "co\u00adop", "a\u200b", "\ufeffa", "🏴󠁧󠁢󠁥󠁮󠁧󠁿")
    ),
    *(
        Case(text, BLANK, BLANK)
        for text in (" ", " \t\r\n", "\u00a0", "\x85", "\x1c\x1f", "\x07", "\x1b", "\x7f", "\x9f")
    ),
    *(Case(text, BLANK, BLANK, BOTH) for text in ("\u3000", "\u2003", "\u1680", "\u2800", " \u2800 ")),
    *(
        Case(text, BLANK, BLANK, BOTH)
        for text in ("\u200b", "\u00ad", "\u202e", "\u200d", "\u2060", "\ufeff", "\u200f")
    ),
    *(Case(text, BLANK, BLANK, BOTH) for text in ("\u3164", "\u115f\u1160", "\uffa0", "\ufe0f", "\u034f", "\u180e")),
    *(Case(text, BLANK, BLANK, BOTH) for text in ("\ufdd0", "\U0010ffff", "\U000e0041", "\ufff9", "\u2066\u2069")),
    *(Case(text, BLANK, BLANK, ("message",)) for text in ("\u2028", "\u2029")),
    # A control character is valid in a message. In a name it would affect text beyond the name.
    *(Case(text, None, INVALID) for text in ("a\nb", "a\r", "\ta", "\x1b[31ma", "a\x07", "a\x7f", "a\x85", "a\x9bb")),
    *(Case(text, None, INVALID) for text in ("a\u2028b", "a\u2029")),
    *(
        Case(text, None, INVALID, ("name",))
        for text in ("a\u202eb", "\u202aa\u202c", "\u2067a\u2069", "\u2068a", "a\u202d")
    ),
]


def assert_accepted_or_refused(response: TestResponse, *codes: str) -> None:
    """Expect 200, or 422 with the codes."""
    assert (response.status_code, response.json if codes else []) == (422 if codes else 200, [*codes])


@pytest.mark.usefixtures("bystander")
def test_service_accepts_or_refuses_text(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue"), make.user("kofi")
    question, group = make.activity(kofi), make.conversation(lin, kofi, "hello")
    client = sign_in(lin)
    for case in CASES:
        with subtests.test(ascii(case.text)):
            codes = [f"message_{case.message}"] if case.message else []
            body = {"message": case.text}

            activity = client.post("/api/activities", json=body | {"ttl": "1-day"})
            assert_accepted_or_refused(activity, *codes)
            assert_accepted_or_refused(client.post(f"/api/activities/{question.uuid}/reply", json=body), *codes)
            assert_accepted_or_refused(
                client.post("/api/messages", json=body | {"message_group_uuid": str(group)}), *codes
            )
            assert_accepted_or_refused(client.post("/api/messages", json=body | {"handle": "kofi"}), *codes)
            profile = client.put("/api/profile/update", json={"display_name": case.text})
            assert_accepted_or_refused(profile, *([f"display_name_{case.name}"] if case.name else []))
            term = client.get("/api/activities/search", query_string={"term": case.text})
            assert_accepted_or_refused(term, *(["search_term_blank"] if case.message else []))

            # Valid text is returned as sent.
            if not case.message:
                assert activity.json["message"] == case.text
                assert case.text in [found["message"] for found in term.json]
            if not case.name:
                assert profile.json["display_name"] == case.text


def insert(owner: Connection, statement: str, *parameters: object) -> bool:
    """Return whether the schema accepts a row."""
    try:
        owner.execute(statement.encode(), parameters)
    except psycopg.errors.CheckViolation:
        return False
    return True


def test_schema_accepts_all_text_that_the_service_accepts(
    subtests: pytest.Subtests, owner: Connection, make: Make
) -> None:
    lin, kofi = make.user(), make.user()
    group = make.conversation(lin, kofi)
    for case in CASES:
        with subtests.test(ascii(case.text)):
            accepted = {
                "message": (
                    insert(owner, "INSERT INTO activities (user_uuid, message) VALUES (%s, %s)", lin.uuid, case.text),
                    insert(
                        owner,
                        "INSERT INTO messages (message_group_uuid, user_uuid, message) VALUES (%s, %s, %s)",
                        *(group, lin.uuid, case.text),
                    ),
                ),
                "name": (insert(owner, "UPDATE users SET display_name = %s WHERE uuid = %s", case.text, lin.uuid),),
            }
            expected = {
                name: code is None or name in case.schema_takes
                for name, code in (("message", case.message), ("name", case.name))
            }

            assert {name: set(each) for name, each in accepted.items()} == {
                name: {each} for name, each in expected.items()
            }


def test_length_counts_code_points_as_sent(sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())

    # A composed character is one code point, a decomposed one two, and a family eleven.
    for message, status in (("e\u0301" * 140, 200), ("e\u0301" * 140 + "x", 422), ("\u00e9" * 280, 200)):
        assert client.post("/api/activities", json={"message": message, "ttl": "1-day"}).status_code == status
    for name, status in (("e\u0301" * 25, 200), ("e\u0301" * 25 + "x", 422)):
        assert client.put("/api/profile/update", json={"display_name": name}).status_code == status
    wrong = client.put("/api/profile/update", json={"display_name": "\n" + "x" * 50, "bio": "x" * 161})
    assert wrong.json == ["display_name_invalid", "display_name_exceed_max_chars", "bio_exceed_max_chars"]


def test_bio_may_have_several_lines(sign_in: SignIn, make: Make) -> None:
    lin = make.user("LinYue")

    assert sign_in(lin).put("/api/profile/update", json={"display_name": "Lin", "bio": "a\n\tb"}).status_code == 200
    assert sign_in(lin).get("/api/activities/@LinYue").json["profile"]["bio"] == "a\n\tb"


@pytest.mark.slow
def test_visible_character_never_folds_to_nothing() -> None:
    every = (chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000)

    # A search term without a word would match every activity.
    assert [ascii(one) for one in every if not text.fold(one).split() and not text.is_blank(one)] == []
