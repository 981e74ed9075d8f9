"""A user's page: the profile and the user's activities."""

import pytest
from flask.testing import FlaskClient

from tests.conftest import links
from tests.factories import Make


def test_page_shows_profile_and_own_activities(client: FlaskClient, make: Make) -> None:
    andrew = make.user("andrewbrown", display_name="Andrew Brown", bio="Cloud.")
    make.activity(andrew, "older", age="2 minutes")
    newer = make.activity(andrew, "newer", age="1 minute")
    make.activity(make.user("bayko"), "not his")
    make.activity(andrew, "a reply", reply_to=newer)
    make.activity(andrew, "gone", age="1 hour", ttl="1 hour")

    response = client.get("/api/activities/@andrewbrown")

    assert response.status_code == 200
    assert response.json["profile"] == {
        "uuid": str(andrew.uuid),
        "cognito_user_uuid": andrew.cognito_user_id,
        "handle": "andrewbrown",
        "display_name": "Andrew Brown",
        "bio": "Cloud.",
        "cruds_count": 2,
        "followers_count": 0,
        "following_count": 0,
    }
    assert [shown["message"] for shown in response.json["activities"]] == ["newer", "older"]
    assert {shown["handle"] for shown in response.json["activities"]} == {"andrewbrown"}


def test_page_without_activities_has_an_empty_array(client: FlaskClient, make: Make) -> None:
    make.user("silent")

    response = client.get("/api/activities/@silent")

    assert response.json["activities"] == []
    assert (response.json["profile"]["bio"], response.json["profile"]["cruds_count"]) == (None, 0)
    assert "Link" not in response.headers


def test_handle_is_case_insensitive(client: FlaskClient, make: Make) -> None:
    make.user("LinYue")

    assert client.get("/api/activities/@linyue").json["profile"]["handle"] == "LinYue"
    assert client.get("/api/activities/@LINYUE").json["profile"]["handle"] == "LinYue"


def test_unknown_handle_is_not_found(client: FlaskClient, make: Make) -> None:
    make.user("andrewbrown")
    paths = ["@missing", "@andrew", "@andrewbrown2", "@", "@andrew brown", "@andrew%00brown", "@" + "a" * 31, "@é"]

    for path in [*paths, "andrewbrown"]:
        response = client.get(f"/api/activities/{path}")
        assert (response.status_code, response.json) == (404, ["not_found"])


def test_handle_of_30_characters_is_found(client: FlaskClient, make: Make) -> None:
    make.user("a" * 30)

    assert client.get("/api/activities/@" + "a" * 30).status_code == 200


def test_page_is_paginated(client: FlaskClient, make: Make) -> None:
    andrew = make.user("andrewbrown")
    for age in range(5):
        make.activity(andrew, str(age), age=f"{age + 1} minutes")
        make.activity(make.user(), "a bystander's", age=f"{age + 1} minutes")

    first = client.get("/api/activities/@andrewbrown?limit=3")
    second = client.get(links(first)["next"])

    assert [shown["message"] for shown in first.json["activities"]] == ["0", "1", "2"]
    assert [shown["message"] for shown in second.json["activities"]] == ["3", "4"]
    assert second.json["profile"] == first.json["profile"]
    assert first.json["profile"]["cruds_count"] == 5


CROWD = """
    INSERT INTO activities (user_uuid, message, expires_at, created_at)
    SELECT %(author)s, 'hello', CASE WHEN %(expired)s THEN now() - interval '1 ms' END, now() - n * interval '1 s'
    FROM generate_series(1, %(count)s) AS n
"""


@pytest.mark.parametrize(("live", "counted"), [(9_999, 9_999), (10_000, 10_000), (10_001, 10_000)])
def test_profile_counts_live_activities_up_to_10000(client: FlaskClient, make: Make, live: int, counted: int) -> None:
    author = make.user("prolific")
    for is_expired, count in ((False, live), (True, 3)):
        make.owner.execute(CROWD, {"author": author.uuid, "expired": is_expired, "count": count})
    make.activity(make.user("bystander"), "not theirs")
    make.activity(author, "a reply", reply_to=make.activity(make.user(), "a question"))

    response = client.get("/api/activities/@prolific")

    assert response.json["profile"]["cruds_count"] == counted
    assert client.get("/api/activities/@bystander").json["profile"]["cruds_count"] == 1
