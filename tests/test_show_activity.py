"""An activity and its replies."""

from uuid import uuid4

from flask.testing import FlaskClient

from tests.conftest import links
from tests.factories import Make


def test_activity_is_shown_with_replies_oldest_first(client: FlaskClient, make: Make) -> None:
    question = make.activity(make.user("asks"), "why?", age="1 hour")
    make.activity(make.user("answers"), "second", age="1 minute", reply_to=question)
    first = make.activity(make.user("first"), "first", age="2 minutes", reply_to=question)
    make.activity(make.user(), "a reply's reply", reply_to=first)
    make.activity(make.user(), "somebody else's", reply_to=make.activity(make.user()))

    response = client.get(f"/api/activities/@asks/status/{question.uuid}")

    assert response.status_code == 200
    activity, replies = response.json["activity"], response.json["replies"]
    assert (activity["uuid"], activity["message"], activity["replies_count"]) == (str(question.uuid), "why?", 2)
    assert [(reply["handle"], reply["message"]) for reply in replies] == [("first", "first"), ("answers", "second")]
    assert {reply["reply_to_activity_uuid"] for reply in replies} == {str(question.uuid)}
    assert set(activity) == set(replies[0])


def test_reply_is_shown_like_an_activity(client: FlaskClient, make: Make) -> None:
    question = make.activity(make.user("asks"), "why?")
    reply = make.activity(make.user("answers"), "because", reply_to=question)
    make.activity(make.user(), "I see", reply_to=reply)

    response = client.get(f"/api/activities/@answers/status/{reply.uuid}").json

    assert (response["activity"]["message"], [shown["message"] for shown in response["replies"]]) == (
        "because",
        ["I see"],
    )


def test_handle_in_the_path_is_case_insensitive(client: FlaskClient, make: Make) -> None:
    activity = make.activity(make.user("LinYue"))

    assert client.get(f"/api/activities/@linyue/status/{activity.uuid}").status_code == 200
    assert client.get(f"/api/activities/@linyue/status/{str(activity.uuid).upper()}").status_code == 200


def test_expired_or_unknown_activity_is_not_found(client: FlaskClient, make: Make) -> None:
    author, stranger = make.user("author"), make.user("stranger")
    live = make.activity(author)
    expired = make.activity(author, age="1 hour", ttl="1 hour")
    assert client.get(f"/api/activities/@author/status/{live.uuid}").status_code == 200

    for path in (
        f"@{stranger.handle}/status/{live.uuid}",
        f"@missing/status/{live.uuid}",
        f"@author/status/{expired.uuid}",
        f"@author/status/{uuid4()}",
        "@author/status/home",
        f"@author/status/{live.uuid}0",
        f"@author/status/{live.uuid.hex}",
        f"@author/status/{live.uuid}%00",
        "@author/status",
    ):
        response = client.get(f"/api/activities/{path}")
        assert (response.status_code, response.json) == (404, ["not_found"])


def test_expired_replies_are_omitted(client: FlaskClient, make: Make) -> None:
    question = make.activity(make.user("asks"), age="2 hours")
    make.activity(make.user(), "gone", age="1 hour", ttl="1 hour", reply_to=question)
    make.activity(make.user(), "there", age="1 hour", ttl="2 hours", reply_to=question)

    response = client.get(f"/api/activities/@asks/status/{question.uuid}").json

    assert [reply["message"] for reply in response["replies"]] == ["there"]


def test_replies_are_paged_oldest_first(client: FlaskClient, make: Make) -> None:
    question = make.activity(make.user("asks"), age="1 hour")
    for n in range(5):
        make.activity(make.user(), str(n), age=f"{10 - n} minutes", reply_to=question)

    first = client.get(f"/api/activities/@asks/status/{question.uuid}?limit=3")
    second = client.get(links(first)["next"])

    assert [reply["message"] for reply in first.json["replies"]] == ["0", "1", "2"]
    assert [reply["message"] for reply in second.json["replies"]] == ["3", "4"]
    assert second.json["activity"] == first.json["activity"]
