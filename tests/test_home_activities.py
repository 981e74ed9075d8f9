"""The home feed."""

import re

import pytest
from flask.testing import FlaskClient

from lib import cache
from tests.clock import Clock
from tests.conftest import SignIn, links
from tests.factories import Make

HOME = "/api/activities/home"


def test_home_feed_without_activities_is_an_empty_array(client: FlaskClient) -> None:
    response = client.get(HOME)

    assert (response.status_code, response.json) == (200, [])
    assert response.content_type == "application/json"


def test_home_feed_shows_an_activity_with_its_author(client: FlaskClient, make: Make) -> None:
    author = make.user("andrewbrown", display_name="Andrew Brown")
    activity = make.activity(author, "Cloud is fun! ☁️ \"quoted\" \\ 'and' <b>", ttl="1 hour")

    (body,) = client.get(HOME).json

    times = {name: body.pop(name) for name in ("created_at", "expires_at")}
    assert body == {
        "uuid": str(activity.uuid),
        "display_name": "Andrew Brown",
        "handle": "andrewbrown",
        "message": "Cloud is fun! ☁️ \"quoted\" \\ 'and' <b>",
        "replies_count": 0,
        "reposts_count": 0,
        "likes_count": 0,
        "reply_to_activity_uuid": None,
    }
    for time in times.values():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00", time)


def test_home_feed_shows_null_for_an_activity_without_expiry(client: FlaskClient, make: Make) -> None:
    make.activity(make.user(), ttl=None)

    assert client.get(HOME).json[0]["expires_at"] is None


def test_home_feed_is_ordered_newest_first(client: FlaskClient, make: Make) -> None:
    someone, someone_else = make.user(), make.user()
    make.activity(someone, "second", age="2 minutes")
    make.activity(someone_else, "first", age="1 minute")
    make.activity(someone, "third", age="3 days")

    assert [shown["message"] for shown in client.get(HOME).json] == ["first", "second", "third"]


def test_home_feed_orders_activities_of_one_instant_by_uuid(client: FlaskClient, make: Make) -> None:
    author = make.user()
    uuids = {str(make.activity(author).uuid) for _ in range(30)}
    make.owner.execute("UPDATE activities SET created_at = '2026-01-01Z', expires_at = NULL")

    first = client.get(HOME, query_string={"limit": "17"})
    second = client.get(links(first)["next"])

    shown = [activity["uuid"] for activity in first.json + second.json]
    assert shown == sorted(uuids, reverse=True)


def test_home_feed_omits_expired_activities(client: FlaskClient, make: Make) -> None:
    author = make.user()
    make.activity(author, "gone", age="1 hour", ttl="1 hour")
    make.activity(author, "long gone", age="2 hours", ttl="1 hour")
    make.activity(author, "there", age="1 hour", ttl="1 hour 1 minute")

    assert [shown["message"] for shown in client.get(HOME).json] == ["there"]


def test_home_feed_omits_replies_and_counts_them(client: FlaskClient, make: Make) -> None:
    author = make.user()
    question = make.activity(author, "why?", age="1 minute")
    make.activity(author, "nobody answers me", age="2 minutes")
    make.activity(make.user(), "because", reply_to=question)
    make.activity(make.user(), "why not", reply_to=question)

    shown = {activity["message"]: activity["replies_count"] for activity in client.get(HOME).json}
    assert shown == {"why?": 2, "nobody answers me": 0}


def test_home_feed_ignores_invalid_authorization(client: FlaskClient, make: Make) -> None:
    make.activity(make.user())

    for authorization in ("Bearer null", "Bearer", "Bearer a b", "garbage", "Bearer eyJh.eyJz.c2ln", "\x7f"):
        response = client.get(HOME, headers={"Authorization": authorization, "Content-Type": "application/json"})
        assert (response.status_code, len(response.json)) == (200, 1)


def test_home_feed_head_request_has_no_body(client: FlaskClient, make: Make) -> None:
    make.activity(make.user())

    response = client.head(HOME)

    assert (response.status_code, response.data) == (200, b"")
    assert response.content_length == client.get(HOME).content_length


def test_authenticated_reader_sees_new_activities_at_once(client: FlaskClient, sign_in: SignIn, make: Make) -> None:
    author, reader = sign_in(make.user("author")), sign_in(make.user("reader"))
    assert client.get(HOME).json == []

    for n in range(5):
        created = author.post("/api/activities", json={"message": str(n), "ttl": "1-day"}).json
        assert author.get(HOME).json[0] == created
        assert reader.get(HOME).json[0] == created
        assert client.get(f"{HOME}?limit=19").json[0] | {"liked": False, "reposted": False} == created


def test_anonymous_first_page_is_cached_for_one_second(
    client: FlaskClient, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(cache, "time", clock)
    author = make.user()
    make.activity(author, "first")
    first = client.get(HOME)
    make.activity(author, "second")

    clock.now += 0.999
    shared = client.get(HOME)
    assert (shared.data, shared.headers["ETag"]) == (first.data, first.headers["ETag"])
    assert client.get(HOME, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    clock.now += 0.001

    assert [activity["message"] for activity in client.get(HOME).json] == ["second", "first"]
    assert client.get(HOME, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_anonymous_and_authenticated_first_pages_link_alike(client: FlaskClient, sign_in: SignIn, make: Make) -> None:
    author = make.user()
    for _ in range(21):
        make.activity(author)

    anonymous, authenticated = client.get(HOME), sign_in(author).get(HOME)

    assert [activity | {"liked": False, "reposted": False} for activity in anonymous.json] == authenticated.json
    assert links(anonymous) == links(authenticated)
    assert len(client.get(links(anonymous)["next"]).json) == 1
