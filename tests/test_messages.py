"""The messages of one conversation."""

from itertools import pairwise
from uuid import uuid4

from tests.conftest import SignIn, links
from tests.factories import Make


def test_both_members_read_a_conversation_oldest_first(sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue", display_name="Lin Yue"), make.user("kofi")
    group = make.conversation(lin, kofi, "first", "second")
    uuid = make.message(group, kofi, "third")
    make.conversation(lin, make.user(), "to another")

    for reader in (lin, kofi):
        response = sign_in(reader).get(f"/api/messages/{group}")
        assert response.status_code == 200
        assert [(one["handle"], one["message"]) for one in response.json] == [
            *(("LinYue", "first"), ("LinYue", "second"), ("kofi", "third"))
        ]
        assert set(response.json[0]) == {"uuid", "display_name", "handle", "message", "expires_at", "created_at"}
        assert (response.json[0]["display_name"], response.json[2]["uuid"]) == ("Lin Yue", str(uuid))


def test_expired_message_is_left_out(sign_in: SignIn, make: Make) -> None:
    lin, kofi = make.user("LinYue"), make.user("kofi")
    group = make.conversation(lin, kofi, "stays")
    make.message(group, lin, "expired", age="1 hour", ttl="1 hour")
    make.message(group, kofi, "lives", age="1 hour", ttl="61 minutes")

    for reader in (lin, kofi):
        shown = sign_in(reader).get(f"/api/messages/{group}").json
        assert [(one["message"], one["expires_at"] is None) for one in shown] == [("lives", False), ("stays", True)]
    ended = make.conversation(lin, make.user())
    make.message(ended, lin, "expired", age="1 hour", ttl="1 hour")
    response = sign_in(lin).get(f"/api/messages/{ended}")
    assert (response.status_code, response.json) == (200, [])


def test_pages_skip_expired_messages(sign_in: SignIn, make: Make) -> None:
    me = make.user()
    group = make.conversation(me, make.user())
    for n in range(50):
        make.message(group, me, str(n), age=f"{60 - n} minutes", ttl="1 minute" if n % 2 else None)
    client = sign_in(me)

    newest = client.get(f"/api/messages/{group}")
    older = client.get(links(newest)["next"])

    assert [one["message"] for one in newest.json] == [str(n) for n in range(10, 50, 2)]
    assert [one["message"] for one in older.json] == [str(n) for n in range(0, 10, 2)]
    assert "next" not in links(older)


def test_conversation_of_others_or_unknown_is_not_found(sign_in: SignIn, make: Make) -> None:
    stranger = sign_in(make.user("stranger"))
    group = make.conversation(make.user(), make.user(), "between others")

    for uuid in (group, uuid4(), "@bayko", "x", group.hex, f"{group}%00"):
        response = stranger.get(f"/api/messages/{uuid}")
        assert (response.status_code, response.json) == (404, ["not_found"])


def test_first_page_has_the_newest_messages_and_next_leads_to_older(sign_in: SignIn, make: Make) -> None:
    me = make.user()
    group = make.conversation(me, make.user(), *(str(n) for n in range(50)))
    client, in_order = sign_in(me), [str(n) for n in range(50)]

    seen, path = [], f"/api/messages/{group}"
    for expected in (in_order[30:], in_order[10:30], in_order[:10]):
        page = client.get(path)
        seen.append(page)
        assert [one["message"] for one in page.json] == expected
        path = links(page).get("next", "")
    assert path == ""
    assert "prev" not in links(seen[0])
    for earlier, later in pairwise(seen):
        back = client.get(links(later)["prev"])
        assert back.json == earlier.json
    assert [one["message"] for one in client.get(f"/api/messages/{group}?limit=2").json] == ["48", "49"]


def test_full_last_page_has_no_next_link(sign_in: SignIn, make: Make) -> None:
    me = make.user()
    group = make.conversation(me, make.user(), *(str(n) for n in range(20)))

    assert links(sign_in(me).get(f"/api/messages/{group}")) == {}


def test_messages_of_one_instant_are_ordered_across_pages(sign_in: SignIn, make: Make) -> None:
    me = make.user()
    group = make.conversation(me, make.user(), *("x" for _ in range(30)))
    make.owner.execute("UPDATE messages SET created_at = '2026-01-01Z'")

    last = sign_in(me).get(f"/api/messages/{group}?limit=17")
    before = sign_in(me).get(links(last)["next"])

    uuids = [one["uuid"] for one in before.json + last.json]
    assert (len(uuids), uuids) == (30, sorted(set(uuids)))
