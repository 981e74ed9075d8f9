"""The list of a user's conversations."""

from tests.conftest import SignIn
from tests.factories import Make

GROUPS = "/api/message_groups"


def test_user_without_messages_has_no_conversations(sign_in: SignIn, make: Make) -> None:
    make.conversation(make.user(), make.user(), "between others")

    response = sign_in(make.user()).get(GROUPS)

    assert (response.status_code, response.json) == (200, [])


def test_conversation_shows_the_other_user_and_the_last_message(sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue", display_name="Lin Yue"), make.user("kofi", display_name="Kofi Mensah")
    group = make.conversation(lin, kofi, "first", "second", "last")

    (to_lin,), (to_kofi,) = sign_in(lin).get(GROUPS).json, sign_in(kofi).get(GROUPS).json

    assert to_lin.pop("created_at") == to_kofi.pop("created_at")
    shown = {"uuid": str(group), "message": "last"}
    assert to_lin == {**shown, "display_name": "Kofi Mensah", "handle": "kofi", "unread_count": 0}
    assert to_kofi == {**shown, "display_name": "Lin Yue", "handle": "LinYue", "unread_count": 3}


def test_conversations_are_ordered_by_last_message(sign_in: SignIn, make: Make) -> None:
    me, others = make.user("me"), [make.user(name) for name in ("a", "b", "c", "d")]
    groups = [make.conversation(me, other, "hello") for other in others]
    make.conversation(others[0], others[1], "not mine")
    client = sign_in(me)

    for other, group in zip(others, groups, strict=True):
        for speaker in (client, sign_in(other)):
            response = speaker.post("/api/messages", json={"message": "again", "message_group_uuid": str(group)})
            assert response.status_code == 200
            assert client.get(GROUPS).json[0]["uuid"] == str(group)
    assert [shown["handle"] for shown in client.get(GROUPS).json] == ["d", "c", "b", "a"]


def test_list_is_limited_to_20_conversations(sign_in: SignIn, make: Make) -> None:
    me = make.user("me")
    # Enough for more than 20 conversations in which the user is the lesser member, and 20 as the greater.
    for n in range(80):
        group = make.conversation(me, make.user(f"other{n}"))
        make.message(group, me, "hello", age=f"{100 - n} minutes")

    handles = [one["handle"] for one in sign_in(me).get(GROUPS).json]

    assert handles == [f"other{n}" for n in range(79, 59, -1)]
