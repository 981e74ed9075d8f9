"""Replies to activities."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.conftest import SignIn
from tests.factories import BLANK, Make


def reply_path(uuid: object) -> str:
    """Return the path for replies to an activity."""
    return f"/api/activities/{uuid}/reply"


@pytest.mark.usefixtures("bystander")
def test_reply_is_returned_counted_and_shown_in_the_thread(sign_in: SignIn, make: Make) -> None:
    question = make.activity(make.user("asks"), "why?", age="1 hour", ttl="3 hours")
    other = make.activity(make.user(), "another question")
    client = sign_in(make.user("answers", display_name="Who Answers"))

    response = client.post(reply_path(question.uuid), json={"message": "because", "activity_uuid": str(other.uuid)})

    assert response.status_code == 200
    assert (response.json["message"], response.json["display_name"]) == ("because", "Who Answers")
    assert response.json["reply_to_activity_uuid"] == str(question.uuid)
    thread = client.get(f"/api/activities/@asks/status/{question.uuid}").json
    assert thread["replies"] == [response.json]
    assert thread["activity"]["replies_count"] == 1
    # A reply expires together with its parent.
    assert thread["activity"]["expires_at"] == response.json["expires_at"]
    assert client.get(f"/api/activities/@{other.author.handle}/status/{other.uuid}").json["replies"] == []


@pytest.mark.usefixtures("bystander")
def test_activity_and_reply_have_the_columns_of_the_home_feed(sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())

    activity = client.post("/api/activities", json={"message": "why?", "ttl": "1-day"}).json
    reply = client.post(reply_path(activity["uuid"]), json={"message": "because"}).json

    (shown, *_) = client.get("/api/activities/home").json
    assert shown["uuid"] == activity["uuid"]
    # The ten of every response, `liked` and `reposted`.
    assert len(shown) == 12
    assert list(activity) == list(reply) == list(shown)


@pytest.mark.usefixtures("bystander")
def test_reply_shows_the_authors_new_display_name(sign_in: SignIn, make: Make) -> None:
    author = make.user("LinYue", display_name="Lin")
    client = sign_in(author)
    client.put("/api/profile/update", json={"display_name": "Lin ☁ %s {handle}"})

    response = client.post(reply_path(make.activity(author).uuid), json={"message": "hello"}).json

    assert (response["display_name"], response["handle"]) == ("Lin ☁ %s {handle}", "LinYue")


@pytest.mark.usefixtures("bystander")
def test_author_may_reply_to_an_own_reply(sign_in: SignIn, make: Make) -> None:
    author = make.user("author")
    reply = make.activity(author, "a reply", ttl=None, reply_to=make.activity(author, ttl=None))

    response = sign_in(author).post(reply_path(str(reply.uuid).upper()), json={"message": "x" * 1024})

    assert (response.status_code, response.json["expires_at"]) == (200, None)
    assert sign_in(author).get(f"/api/activities/@author/status/{reply.uuid}").json["replies"] == [response.json]


@pytest.mark.usefixtures("bystander")
def test_reply_is_limited_to_1024_characters_and_not_blank(sign_in: SignIn, make: Make) -> None:
    question = make.activity(make.user())
    client = sign_in(make.user())
    assert client.post(reply_path(question.uuid), json={"message": "é" * 1024}).status_code == 200

    for message in BLANK:
        response = client.post(reply_path(question.uuid), json={"message": message})
        assert (response.status_code, response.json) == (422, ["message_blank"])
    response = client.post(reply_path(question.uuid), json={"message": "é" * 1025})
    assert (response.status_code, response.json) == (422, ["message_exceed_max_chars_1024"])
    response = client.post(reply_path(question.uuid), json={})
    assert (response.status_code, response.json) == (422, ["message_blank"])
    assert make.counts()[question.uuid] == 1


@pytest.mark.usefixtures("bystander")
def test_reply_to_expired_or_unknown_activity_is_not_found(sign_in: SignIn, make: Make) -> None:
    expired = make.activity(make.user(), "expired", age="1 hour", ttl="1 hour")
    client = sign_in(make.user())

    for uuid in (expired.uuid, uuid4(), "home", f"{expired.uuid}0", expired.uuid.hex):
        response = client.post(reply_path(uuid), json={"message": "hello"})
        assert (response.status_code, response.json) == (404, ["not_found"])
    counts = make.owner.execute("SELECT replies_count FROM activities WHERE message = 'expired'").fetchall()
    assert counts == [(0,)]


@pytest.mark.usefixtures("bystander")
def test_64_concurrent_replies_are_all_counted(sign_in: SignIn, make: Make) -> None:
    question = make.activity(make.user("asks"))
    clients = [sign_in(make.user()) for _ in range(64)]

    with ThreadPoolExecutor(64) as pool:
        responses = list(pool.map(lambda one: one.post(reply_path(question.uuid), json={"message": "me too"}), clients))

    assert [response.status_code for response in responses] == [200] * 64
    thread = clients[0].get(f"/api/activities/@asks/status/{question.uuid}", query_string={"limit": 100}).json
    assert thread["activity"]["replies_count"] == 64
    assert {reply["uuid"] for reply in thread["replies"]} == {response.json["uuid"] for response in responses}
