"""Posting."""

from datetime import datetime, timedelta

import pytest

from tests.conftest import SignIn
from tests.factories import BLANK, Make

ACTIVITIES = "/api/activities"
TTL = {
    "30-days": timedelta(days=30),
    "7-days": timedelta(days=7),
    "3-days": timedelta(days=3),
    "1-day": timedelta(days=1),
    "12-hours": timedelta(hours=12),
    "3-hours": timedelta(hours=3),
    "1-hour": timedelta(hours=1),
}


@pytest.mark.usefixtures("bystander")
def test_an_activity_is_answered_as_it_is_then_shown(sign_in: SignIn, make: Make) -> None:
    author = make.user("LinYue", display_name="Lin Yue")
    client = sign_in(author)

    answer = client.post(ACTIVITIES, json={"message": " Cloud is fun! ☁️ ", "ttl": "7-days"})

    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.json["message"] == " Cloud is fun! ☁️ "
    assert (answer.json["handle"], answer.json["display_name"]) == ("LinYue", "Lin Yue")
    assert {name for name, value in answer.json.items() if value == 0} == {
        *("replies_count", "reposts_count", "likes_count")
    }
    assert answer.json["reply_to_activity_uuid"] is None
    assert client.get("/api/activities/home").json[0] == answer.json
    assert client.get(f"/api/activities/@linyue/status/{answer.json['uuid']}").json["activity"] == answer.json


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(("ttl", "lifetime"), TTL.items())
def test_an_activity_lives_for_as_long_as_was_said(sign_in: SignIn, make: Make, ttl: str, lifetime: timedelta) -> None:
    made = sign_in(make.user()).post(ACTIVITIES, json={"message": "hello", "ttl": ttl}).json

    times = [datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at")]
    assert times[1] - times[0] == lifetime


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    "message", ["x", "é" * 280, "👩‍👩‍👧‍👦" * 40, "x\n\ty", "<b>'\"\\%_{}</b>", "-- ; DROP TABLE users"]
)
def test_a_message_of_up_to_280_code_points_is_taken_as_it_is(sign_in: SignIn, make: Make, message: str) -> None:
    answer = sign_in(make.user()).post(ACTIVITIES, json={"message": message, "ttl": "1-hour"})

    assert (answer.status_code, answer.json["message"]) == (200, message)


NO_TTL = ["", "2-hours", "1-hours", " 1-hour", "1-HOUR", None, 3600, True, [], ["1-hour"], {"1-hour": 1}]


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("body", "codes"),
    [
        *(({"message": message, "ttl": "1-day"}, ["message_blank"]) for message in BLANK),
        *(({"message": "hello", "ttl": ttl}, ["ttl_blank"]) for ttl in NO_TTL),
        ({"message": "é" * 281, "ttl": "1-day"}, ["message_exceed_max_chars"]),
        ({"message": " " * 281, "ttl": "1-day"}, ["message_blank"]),
        ({"ttl": "1-day"}, ["message_blank"]),
        ({"message": "hello"}, ["ttl_blank"]),
        ({}, ["message_blank", "ttl_blank"]),
        ({"ttl": "x", "message": "é" * 281}, ["message_exceed_max_chars", "ttl_blank"]),
    ],
)
def test_what_breaks_a_rule_is_refused_with_every_code(
    sign_in: SignIn, make: Make, body: object, codes: list[str]
) -> None:
    answer = sign_in(make.user("author")).post(ACTIVITIES, json=body)

    assert (answer.status_code, answer.json) == (422, codes)
    assert sign_in(make.user()).get("/api/activities/@author").json["activities"] == []


@pytest.mark.usefixtures("bystander")
def test_the_author_is_whoever_signed_in_whatever_the_body_says(sign_in: SignIn, make: Make) -> None:
    author, other = make.user("author"), make.user("other")

    made = sign_in(author).post(
        ACTIVITIES,
        json={
            "message": "hello",
            "ttl": "1-day",
            "handle": "other",
            "user_uuid": str(other.uuid),
            "replies_count": 9,
            "expires_at": None,
            "uuid": str(other.uuid),
        },
    )

    assert (made.status_code, made.json["handle"], made.json["replies_count"]) == (200, "author", 0)
    assert made.json["uuid"] != str(other.uuid)
    assert made.json["expires_at"] is not None
