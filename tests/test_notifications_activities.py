"""Notifications: replies to the user and mentions of the user."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import SignIn, links
from tests.factories import Make, User

NOTIFICATIONS = "/api/activities/notifications"


@pytest.fixture
def me(make: Make) -> User:
    """Create the user who gets the notifications."""
    return make.user("LinYue")


def post(client: FlaskClient, message: str) -> TestResponse:
    """Create an activity, which must succeed."""
    response = client.post("/api/activities", json={"message": message, "ttl": "1-day"})
    assert response.status_code == 200
    return response


def notified_messages(client: FlaskClient) -> list[str]:
    """Return the messages of the notifications, newest first."""
    return [activity["message"] for activity in client.get(NOTIFICATIONS).json]


def test_new_user_has_no_notifications(sign_in: SignIn, me: User, make: Make) -> None:
    make.activity(make.user(), "to nobody")

    response = sign_in(me).get(NOTIFICATIONS)

    assert (response.status_code, response.json) == (200, [])


@pytest.mark.usefixtures("bystander")
def test_replies_and_mentions_are_listed_newest_first(sign_in: SignIn, me: User, make: Make) -> None:
    other = make.user("kofi")
    question = make.activity(me, "why?", age="3 hours")
    make.activity(other, "third: because", age="2 hours", reply_to=question)
    make.mention(make.activity(other, "second: ask @LinYue", age="1 hour"), me)
    newest = post(sign_in(other), "first: @LinYue knows")
    make.activity(other, "to the other", reply_to=make.activity(other))

    notifications = sign_in(me).get(NOTIFICATIONS).json

    assert [one["message"] for one in notifications] == [
        *("first: @LinYue knows", "second: ask @LinYue", "third: because")
    ]
    assert notifications[0] == newest.json
    assert notifications[2]["reply_to_activity_uuid"] == str(question.uuid)
    assert notified_messages(sign_in(other)) == []


@pytest.mark.usefixtures("bystander")
def test_reply_notifies_the_parents_author_and_mentioned_users(sign_in: SignIn, me: User, make: Make) -> None:
    question, other = make.activity(me, "why?"), make.user("kofi")
    client = sign_in(make.user("bayko"))

    response = client.post(f"/api/activities/{question.uuid}/reply", json={"message": "@kofi knows"})

    assert sign_in(me).get(NOTIFICATIONS).json == [response.json]
    assert sign_in(other).get(NOTIFICATIONS).json == [response.json]
    assert notified_messages(client) == []


@pytest.mark.usefixtures("bystander")
def test_reply_with_a_mention_notifies_once(sign_in: SignIn, me: User, make: Make) -> None:
    question = make.activity(me, "why?")

    response = sign_in(make.user("kofi")).post(
        f"/api/activities/{question.uuid}/reply", json={"message": "@LinYue @linyue @LINYUE because"}
    )

    assert sign_in(me).get(NOTIFICATIONS).json == [response.json]


@pytest.mark.usefixtures("bystander")
def test_own_activities_cause_no_notification(sign_in: SignIn, me: User, make: Make) -> None:
    question = make.activity(me, "why?")
    client = sign_in(me)
    post(client, "@LinYue is me")
    client.post(f"/api/activities/{question.uuid}/reply", json={"message": "never mind, says @LinYue"})

    assert notified_messages(client) == []


MENTIONS = [
    *(
        "@LinYue",
        "@linyue!",
        "(@LINYUE)",
        "hello,@LinYue",
        "@LinYue's turn",
        "@LinYue.",
        "@LinYue. Yes",
        ".@LinYue",
    ),
    *("…@LinYue…", "@LinYue/", "@LinYue\n", "@missing @kofi @LinYue", "-@LinYue-", "☁️@LinYue☁️", "@LinYue/, see"),
    # A handle is ASCII, so it starts and ends next to any other letter.
    *("@LinYueさん", "こんにちは@LinYue", "@LinYue님", "é@LinYue", "@LinYueé", "मैं@LinYueको"),
    # Mentions after a URL.
    *("https://example.com @LinYue", "https://example.com、@LinYue", "<www.example.com>@LinYue", "a://b\n@LinYue"),
]
NO_MENTIONS = [
    *("LinYue", "@ LinYue", "me@LinYue", "_@LinYue", "1@LinYue", "@LinYues", "@LinYue_", "@@LinYue", "＠LinYue"),
    *("@Lin", "@LinYue1", "@kofi@LinYue", "@" + "LinYue" * 6, "/@LinYue", "@LinYue@", "@LinYue/a", "@LinYue.é"),
    # Addresses, packages, hosts.
    *("@LinYue@mastodon.social", "info.@LinYue.com", "me@LinYue.com", "@LinYue/react", "@LinYue.com"),
    # Handles within a URL.
    *("https://medium.com/@LinYue/a-post", "HTTPS://example.com?to=@LinYue", "git+ssh://a.b:@LinYue"),
    *("https://example.com/ü?to=@LinYue", "www.example.com?to=@LinYue", "(WWW.example.com/a,@LinYue)"),
]


@pytest.mark.usefixtures("bystander")
def test_mention_notifies(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    author = sign_in(make.user("kofi"))
    lin = sign_in(make.user("LinYue"))

    for number, message in enumerate(MENTIONS):
        with subtests.test(message):
            post(author, message)
            assert notified_messages(lin) == MENTIONS[number::-1][:20]


@pytest.mark.usefixtures("bystander")
def test_text_without_a_mention_does_not_notify(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    author = sign_in(make.user("kofi"))
    lin = sign_in(make.user("LinYue"))

    for message in NO_MENTIONS:
        with subtests.test(message):
            post(author, message)
            assert notified_messages(lin) == []


def test_expired_and_deleted_activities_are_omitted(sign_in: SignIn, me: User, make: Make) -> None:
    other = make.user("kofi")
    question = make.activity(me, age="3 hours", ttl=None)
    make.activity(other, "gone", age="2 hours", ttl="1 hour", reply_to=question)
    make.mention(make.activity(other, "gone @LinYue", age="1 hour", ttl="1 hour"), me)
    make.mention(make.activity(other, "there @LinYue", age="1 hour", ttl="2 hours"), me)
    deleted = make.activity(other, "deleted", reply_to=question)
    assert sign_in(other).delete(f"/api/activities/{deleted.uuid}").status_code == 200

    assert notified_messages(sign_in(me)) == ["there @LinYue"]


def pages(client: FlaskClient, path: str | None, relation: str) -> Iterator[list[str]]:
    """Yield the messages of each page from `path` on."""
    while path:
        response = client.get(path)
        assert response.status_code == 200
        yield [activity["message"] for activity in response.json]
        path = links(response).get(relation)


def test_notifications_are_paged_in_both_directions(sign_in: SignIn, me: User, make: Make) -> None:
    other, question = make.user("kofi"), make.activity(me, age="1 day")
    for n in range(25):
        make.activity(other, f"{2 * n}", age=f"{2 * n + 1} minutes", reply_to=question)
        both = make.activity(other, f"{2 * n + 1}", age=f"{2 * n + 2} minutes", reply_to=question if n % 2 else None)
        make.mention(both, me)
    client = sign_in(me)
    in_order = [[str(n) for n in range(50)[start : start + 15]] for start in range(0, 50, 15)]

    assert list(pages(client, f"{NOTIFICATIONS}?limit=15", "next")) == in_order
    last = f"{NOTIFICATIONS}?limit=15"
    for _ in in_order[1:]:
        last = links(client.get(last))["next"]
    backwards = list(pages(client, last, "prev"))
    assert [message for page in reversed(backwards) for message in page] == [str(n) for n in range(50)]
    assert len(client.get(NOTIFICATIONS).json) == 20


def test_notifications_of_one_instant_are_ordered_across_pages(sign_in: SignIn, me: User, make: Make) -> None:
    question = make.activity(me)
    for _ in range(30):
        make.mention(make.activity(make.user(), reply_to=question), me)
    make.owner.execute("UPDATE activities SET created_at = '2026-01-01Z', expires_at = NULL")

    first = sign_in(me).get(f"{NOTIFICATIONS}?limit=17")
    second = sign_in(me).get(links(first)["next"])

    uuids = [activity["uuid"] for activity in first.json + second.json]
    assert (len(uuids), uuids) == (30, sorted(set(uuids), reverse=True))
