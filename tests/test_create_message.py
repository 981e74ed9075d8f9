"""Direct messages: in an existing conversation, and to a handle."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import uuid4

import pytest

from services.validation import TTL
from tests.conftest import SignIn
from tests.factories import BLANK, Make, User

MESSAGES = "/api/messages"
NO_TTL: list[object] = ["", " ", "2-days", "1-hour ", "1-HOUR", "PT1H", 1, True, False, [], ["1-hour"], {}]
NO_TEXT: list[object] = ["", " ", "\u3000", None, 1, [], {}, False]


@pytest.mark.usefixtures("bystander")
def test_message_to_a_group_is_returned_as_later_shown(sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue", display_name="Lin Yue"), make.user("kofi")
    group, other = make.conversation(lin, kofi, "hello"), make.conversation(lin, make.user(), "to another")
    body = {"message": "é" * 1024, "message_group_uuid": str(group), "handle": "nobody", "user_receiver_handle": "x"}

    response = sign_in(lin).post(MESSAGES, json=body)

    assert response.status_code == 200
    message = response.json
    assert (message["message"], message["handle"], message["display_name"]) == ("é" * 1024, "LinYue", "Lin Yue")
    assert message.pop("message_group_uuid") == str(group)
    assert sign_in(kofi).get(f"{MESSAGES}/{group}").json[-1] == message
    assert len(sign_in(lin).get(f"{MESSAGES}/{other}").json) == 1


@pytest.mark.usefixtures("bystander")
def test_message_to_a_handle_starts_the_pairs_one_conversation(sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue"), make.user("kofi")

    first = sign_in(lin).post(MESSAGES, json={"message": "hello", "handle": "KOFI"})
    second = sign_in(kofi).post(MESSAGES, json={"message": "hello yourself", "handle": "linyue"})

    assert (first.status_code, set(first.json)) == (200, {"message_group_uuid"})
    assert (second.status_code, second.json) == (200, first.json)
    for reader in (lin, kofi):
        messages = sign_in(reader).get(f"{MESSAGES}/{first.json['message_group_uuid']}").json
        assert [one["message"] for one in messages] == ["hello", "hello yourself"]
        assert len(sign_in(reader).get("/api/message_groups").json) == 1


@pytest.mark.usefixtures("bystander")
def test_message_lives_as_long_as_its_ttl(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue"), make.user("kofi")
    group = str(make.conversation(lin, kofi, "hello"))
    client = sign_in(lin)

    for ttl, lifetime in TTL.items():
        for receiver in ({"message_group_uuid": group}, {"handle": "kofi"}):
            with subtests.test(ttl, **receiver):
                response = client.post(MESSAGES, json={"message": "it ends", "ttl": ttl, **receiver})

                assert response.status_code == 200
                shown = client.get(f"{MESSAGES}/{group}").json[-1]
                ends, begins = (datetime.fromisoformat(shown[name]) for name in ("expires_at", "created_at"))
                assert (shown["message"], ends - begins) == ("it ends", lifetime)
                assert response.json in ({**shown, "message_group_uuid": group}, {"message_group_uuid": group})


@pytest.mark.usefixtures("bystander")
def test_message_without_a_ttl_stays(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue"), make.user("kofi")
    group = str(make.conversation(lin, kofi, "hello"))
    client = sign_in(lin)

    for ttl in ({}, {"ttl": None}):
        for receiver in ({"message_group_uuid": group}, {"handle": "kofi"}):
            with subtests.test(**ttl, **receiver):
                assert client.post(MESSAGES, json={"message": "it stays", **ttl, **receiver}).status_code == 200
                shown = client.get(f"{MESSAGES}/{group}").json[-1]
                assert (shown["message"], shown["expires_at"]) == ("it stays", None)


INVALID = [
    *(({"message": blank, "handle": "kofi"}, ["message_blank"]) for blank in BLANK),
    ({"message": "é" * 1025, "handle": "kofi"}, ["message_exceed_max_chars_1024"]),
    *(({"message": "hello", "handle": handle}, ["user_reciever_handle_blank"]) for handle in NO_TEXT),
    *(({"message": "hello", "handle": "kofi", "ttl": ttl}, ["ttl_blank"]) for ttl in NO_TTL),
    *(({"message": "hello", "message_group_uuid": "x", "ttl": ttl}, ["ttl_blank"]) for ttl in NO_TTL),
    ({"message": "", "handle": "", "ttl": ""}, ["message_blank", "ttl_blank", "user_reciever_handle_blank"]),
    ({"message": "", "message_group_uuid": "", "ttl": 1}, ["message_blank", "ttl_blank", "message_group_uuid_blank"]),
    ({"message": "hello", "handle": "LinYue", "ttl": "x"}, ["ttl_blank", "user_reciever_handle_self"]),
    *(({"message": "hello", "handle": handle}, ["user_reciever_handle_self"]) for handle in ("LinYue", "LINYUE")),
    *(
        ({"message": "hello", "message_group_uuid": group, "handle": "kofi"}, ["message_group_uuid_blank"])
        for group in NO_TEXT
    ),
    ({"message": "hello"}, ["user_reciever_handle_blank"]),
    ({}, ["message_blank", "user_reciever_handle_blank"]),
    ({"message_group_uuid": "", "message": ""}, ["message_blank", "message_group_uuid_blank"]),
    ({"handle": "LinYue", "message": "é" * 1025}, ["message_exceed_max_chars_1024", "user_reciever_handle_self"]),
]


@pytest.mark.usefixtures("bystander")
def test_invalid_message_is_refused_with_every_code(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue"), make.user("kofi")

    for body, codes in INVALID:
        with subtests.test(ascii(body)[:80]):
            response = sign_in(lin).post(MESSAGES, json=body)

            assert (response.status_code, response.json) == (422, codes)
            assert sign_in(kofi).get("/api/message_groups").json == []


@pytest.mark.usefixtures("bystander")
def test_unknown_receiver_or_group_is_not_found(sign_in: SignIn, make: Make) -> None:
    others = make.conversation(make.user(), make.user(), "between others")
    client = sign_in(make.user("LinYue"))
    (count,) = make.owner.execute("SELECT count(*) FROM messages").fetchone()

    for receiver in (
        *({"handle": handle} for handle in ("nobody", "kofi ", "@kofi", "x" * 31, "é", "%")),
        *({"message_group_uuid": group} for group in (str(others), str(uuid4()), "x", others.hex, f"{{{others}}}")),
    ):
        response = client.post(MESSAGES, json={"message": "hello", **receiver})
        assert (response.status_code, response.json) == (404, ["not_found"])
    assert make.owner.execute("SELECT count(*) FROM messages").fetchone() == (count,)
    assert client.get("/api/message_groups").json == []


@pytest.mark.usefixtures("bystander")
def test_32_concurrent_first_messages_share_one_conversation(sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue"), make.user("kofi")

    def begin(n: int) -> tuple[int, str]:
        sender, receiver = (lin, kofi) if n % 2 else (kofi, lin)
        response = sign_in(sender).post(MESSAGES, json={"message": str(n), "handle": receiver.handle})
        return response.status_code, response.json["message_group_uuid"]

    with ThreadPoolExecutor(32) as pool:
        responses = set(pool.map(begin, range(32)))

    ((status, group),) = responses
    assert status == 200
    messages = sign_in(lin).get(f"{MESSAGES}/{group}?limit=100").json
    assert sorted(int(one["message"]) for one in messages) == list(range(32))
    assert len(sign_in(kofi).get("/api/message_groups").json) == 1


@pytest.mark.usefixtures("bystander")
def test_each_pair_has_its_own_conversation(sign_in: SignIn, make: Make) -> None:
    people: list[User] = [make.user() for _ in range(4)]
    pairs = [(one, other) for one in people for other in people if one != other]

    groups = {
        frozenset(pair): sign_in(pair[0]).post(MESSAGES, json={"message": "hello", "handle": pair[1].handle}).json
        for pair in pairs
    }

    assert len({group["message_group_uuid"] for group in groups.values()}) == 6
