"""Creating an activity."""

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
def test_created_activity_is_returned_as_later_shown(sign_in: SignIn, make: Make) -> None:
    author = make.user("LinYue", display_name="Lin Yue")
    client = sign_in(author)

    response = client.post(ACTIVITIES, json={"message": " Cloud is fun! ☁️ ", "ttl": "7-days"})

    assert (response.status_code, response.content_type) == (200, "application/json")
    assert response.json["message"] == " Cloud is fun! ☁️ "
    assert (response.json["handle"], response.json["display_name"]) == ("LinYue", "Lin Yue")
    counts = ("replies_count", "reposts_count", "likes_count")
    assert [response.json[name] for name in counts] == [0, 0, 0]
    assert (response.json["liked"], response.json["reposted"]) == (False, False)
    assert response.json["reply_to_activity_uuid"] is None
    assert client.get("/api/activities/home").json[0] == response.json
    assert client.get(f"/api/activities/@linyue/status/{response.json['uuid']}").json["activity"] == response.json


@pytest.mark.usefixtures("bystander")
def test_activity_expires_after_its_ttl(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())

    for ttl, lifetime in TTL.items():
        with subtests.test(ttl):
            created = client.post(ACTIVITIES, json={"message": "hello", "ttl": ttl}).json

            times = [datetime.fromisoformat(created[name]) for name in ("created_at", "expires_at")]
            assert times[1] - times[0] == lifetime


@pytest.mark.usefixtures("bystander")
def test_message_of_up_to_280_code_points_is_stored_unchanged(
    subtests: pytest.Subtests, sign_in: SignIn, make: Make
) -> None:
    client = sign_in(make.user())

    for message in ("x", "é" * 280, "👩‍👩‍👧‍👦" * 40, "x\n\ty", "<b>'\"\\%_{}</b>", "-- ; DROP TABLE users"):
        with subtests.test(message[:80]):
            response = client.post(ACTIVITIES, json={"message": message, "ttl": "1-hour"})

            assert (response.status_code, response.json["message"]) == (200, message)


NO_TTL = ["", "2-hours", "1-hours", " 1-hour", "1-HOUR", None, 3600, True, [], ["1-hour"], {"1-hour": 1}]


INVALID = [
    *(({"message": message, "ttl": "1-day"}, ["message_blank"]) for message in BLANK),
    *(({"message": "hello", "ttl": ttl}, ["ttl_blank"]) for ttl in NO_TTL),
    ({"message": "é" * 281, "ttl": "1-day"}, ["message_exceed_max_chars"]),
    ({"message": " " * 281, "ttl": "1-day"}, ["message_blank"]),
    ({"ttl": "1-day"}, ["message_blank"]),
    ({"message": "hello"}, ["ttl_blank"]),
    ({}, ["message_blank", "ttl_blank"]),
    ({"ttl": "x", "message": "é" * 281}, ["message_exceed_max_chars", "ttl_blank"]),
]


@pytest.mark.usefixtures("bystander")
def test_invalid_activity_is_refused_with_every_code(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user("author"))

    for body, codes in INVALID:
        with subtests.test(ascii(body)[:80]):
            response = client.post(ACTIVITIES, json=body)

            assert (response.status_code, response.json) == (422, codes)
            assert client.get("/api/activities/@author").json["activities"] == []


@pytest.mark.usefixtures("bystander")
def test_author_is_the_current_user_whatever_the_body_contains(sign_in: SignIn, make: Make) -> None:
    author, other = make.user("author"), make.user("other")

    response = sign_in(author).post(
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

    assert (response.status_code, response.json["handle"], response.json["replies_count"]) == (200, "author", 0)
    assert response.json["uuid"] != str(other.uuid)
    assert response.json["expires_at"] is not None
