"""Conversations between two browsers."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.factories import Make
from tests.page.conftest import Held, Visit, go

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]

PAGE_ROWS = 20


def send(page: Page, message: str) -> None:
    """Write a message and send it."""
    page.get_by_role("textbox", name="New message").fill(message)
    page.get_by_role("button", name="Send").click()


def bubble(page: Page, message: str) -> Locator:
    """Return the element of a message."""
    return page.get_by_role("log").get_by_role("listitem").filter(has_text=message)


def test_conversation_with_a_deleted_user_can_be_read(visit: Visit, make: Make) -> None:
    one, other = make.user("one"), make.user("other")
    make.conversation(one, other, "still here")
    make.owner.execute("SELECT request_deletion(%s, '35 days', gen_random_uuid())", [other.cognito_user_id])
    make.owner.execute("SELECT confirm_deletion(sub_hash, 'deleted') FROM deletions")
    page = visit(one, path="messages")
    page.get_by_role("link", name="Deleted user").click()

    expect(page.get_by_role("log")).to_contain_text("still here")
    expect(page.get_by_role("heading", name="Conversation with Deleted user")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("This account was deleted.")
    expect(page.get_by_role("main").get_by_role("textbox")).to_have_count(0)
    expect(page.get_by_role("main").get_by_role("link")).to_have_count(0)


def test_two_users_converse(visit: Visit, make: Make) -> None:
    one, other = make.user("one", display_name="User One"), make.user("other", display_name="The Other")
    here = visit(one, path="@other")
    there = visit(other, path="messages")
    expect(there.get_by_text("No conversations yet.")).to_be_visible()
    here.get_by_role("link", name="Message", exact=True).click()
    send(here, "Hello, Other!")
    expect(here.get_by_role("log")).to_contain_text("Hello, Other!")

    there.reload()
    expect(there.get_by_role("main")).to_contain_text("1 unread")
    there.get_by_role("link", name="User One @one").click()
    expect(there.get_by_role("log")).to_contain_text("Hello, Other!")
    send(there, "Hello, One!")
    # Without a reload.
    expect(here.get_by_role("log")).to_contain_text("Hello, One!")
    send(here, "How are you?")
    expect(there.get_by_role("log")).to_contain_text("How are you?")
    sent = make.owner.execute(
        "SELECT message FROM messages WHERE user_uuid IN (%s, %s) ORDER BY created_at", [one.uuid, other.uuid]
    )
    assert [message for (message,) in sent] == ["Hello, Other!", "Hello, One!", "How are you?"]
    there.get_by_role("link", name="Messages").click()
    expect(there.get_by_role("main")).not_to_contain_text("unread")


def test_message_disappears_from_both_browsers(visit: Visit, make: Make) -> None:
    one, other = make.user("one"), make.user("other")
    group = make.conversation(one, other, "it stays")
    here, there = visit(one, path=f"messages/{group}"), visit(other, path=f"messages/{group}")
    for page in (here, there):
        expect(page.get_by_role("combobox", name="Disappears after")).to_have_value("")
    here.get_by_role("combobox", name="Disappears after").select_option("1 hour")
    send(here, "it ends in an hour")

    for page in (here, there):
        shown = bubble(page, "it ends in an hour")
        expect(shown.get_by_role("timer")).to_have_text(re.compile(r"^59 min \d+ s left$|^1 h left$"))
        expect(bubble(page, "it stays").get_by_role("timer")).to_have_count(0)
    make.message(group, one, "it ends soon", age="59 minutes 48 seconds", ttl="1 hour")
    for page in (here, there):
        page.reload()
        expect(bubble(page, "it ends soon")).to_be_visible()
    for page in (here, there):
        expect(bubble(page, "it ends soon")).to_have_count(0)
        expect(page.locator("[aria-live]")).to_contain_text("A message has disappeared.")
        expect(bubble(page, "it stays")).to_be_visible()
        expect(bubble(page, "it ends in an hour")).to_be_visible()


def test_message_disappears_from_the_list_before_the_next_poll(visit: Visit, make: Make) -> None:
    one, other = make.user("one"), make.user("other")
    group = make.conversation(one, other)
    make.message(group, one, "it stays", age="2 hours")
    page = visit(other, path="messages")
    conversation = page.get_by_role("main").get_by_role("listitem")
    expect(conversation).to_contain_text("it stays")
    make.message(group, one, "it ends soon", age="59 minutes 48 seconds", ttl="1 hour")
    page.reload()
    expect(conversation).to_contain_text("it ends soon")
    expect(conversation.get_by_role("timer")).to_have_text(re.compile(r"^\d+ s left$"))
    # From here on no response arrives.
    page.route("**/api/message_groups", lambda route: route.abort())

    expect(conversation).not_to_contain_text("it ends soon")
    expect(conversation.get_by_role("timer")).to_have_count(0)
    expect(conversation.get_by_role("link")).to_have_text("Test User @one")
    page.unroute_all()
    page.reload()
    expect(conversation).to_contain_text("it stays")


def test_message_that_stays_and_one_that_ends_are_stored(visit: Visit, make: Make) -> None:
    make.user("other")
    one = make.user("one")
    page = visit(one, path="messages/@other")
    page.get_by_role("combobox", name="Disappears after").select_option("3 hours")
    send(page, "it ends")
    expect(page.get_by_role("log")).to_contain_text("it ends")
    page.get_by_role("combobox", name="Disappears after").select_option("stays")
    send(page, "it stays")
    expect(page.get_by_role("log")).to_contain_text("it stays")

    stored = "SELECT message, (expires_at - created_at)::text FROM messages WHERE user_uuid = %s ORDER BY created_at"
    assert make.owner.execute(stored, [one.uuid]).fetchall() == [("it ends", "03:00:00"), ("it stays", None)]


def test_older_messages_stay_in_order_as_newer_ones_disappear(visit: Visit, make: Make) -> None:
    one, other = make.user("one"), make.user("other")
    group = make.conversation(one, other, *(f"number {number:02}" for number in range(PAGE_ROWS + 5)))
    for number in range(PAGE_ROWS - 1):
        make.message(group, one, f"ends {number:02}", age="30 seconds", ttl="42 seconds")
    page = visit(other, path=f"messages/{group}")
    expect(page.get_by_role("log")).to_contain_text("number 24")
    expect(page.get_by_role("log")).not_to_contain_text("ends")
    make.message(group, one, "the newest")
    expect(page.get_by_role("log")).to_contain_text("the newest")

    # The first page has had older messages since the end of the others.
    assert page.locator(".bubble .message").all_inner_texts() == ["number 24", "the newest"]
    page.get_by_role("button", name="Show older messages").click()
    expect(page.get_by_role("log")).to_contain_text("number 04")
    texts = page.locator(".bubble .message").all_inner_texts()
    assert texts == [*(f"number {number:02}" for number in range(4, PAGE_ROWS + 5)), "the newest"]


def test_message_to_a_known_user_continues_the_conversation(visit: Visit, make: Make) -> None:
    one, other = make.user("one"), make.user("other")
    group = make.conversation(one, other, "the old message")
    page = visit(one, path="messages/@other")

    expect(page.get_by_role("log")).to_contain_text("the old message")
    expect(page).to_have_url(f"messages/{group}")


def test_older_messages_come_on_demand(visit: Visit, make: Make) -> None:
    one, other = make.user("one"), make.user("other")
    group = make.conversation(one, other, *(f"number {number:02}" for number in range(PAGE_ROWS + 5)))
    page = visit(other, path=f"messages/{group}")
    expect(page.get_by_role("log").get_by_role("listitem")).to_have_count(PAGE_ROWS)
    page.get_by_role("button", name="Show older messages").click()

    expect(page.get_by_role("log").get_by_role("listitem")).to_have_count(PAGE_ROWS + 5)
    texts = page.locator(".bubble .message").all_inner_texts()
    assert texts == [f"number {number:02}" for number in range(PAGE_ROWS + 5)]
    expect(page.get_by_role("button", name="Show older messages")).to_be_hidden()


def test_conversation_of_others_does_not_exist(visit: Visit, make: Make) -> None:
    group = make.conversation(make.user(), make.user(), "a secret")
    page = visit(make.user(), path=f"messages/{group}")

    expect(page.get_by_role("heading", name="This conversation does not exist.")).to_be_visible()


def test_many_new_messages_leave_no_gap(visit: Visit, make: Make) -> None:
    one, other = make.user("one"), make.user("other")
    group = make.conversation(one, other, "the first")
    page = visit(other, path=f"messages/{group}")
    expect(page.get_by_role("log")).to_contain_text("the first")
    page.context.set_offline(True)
    for number in range(2 * PAGE_ROWS + 5):
        make.message(group, one, f"number {number:02}")
    page.context.set_offline(False)
    expect(page.get_by_role("log")).to_contain_text("number 44")

    texts = page.locator(".bubble .message").all_inner_texts()
    assert texts == ["the first", *(f"number {number:02}" for number in range(2 * PAGE_ROWS + 5))]


def test_sent_message_appears_after_a_failed_read(visit: Visit, make: Make) -> None:
    one = make.user("one")
    group = make.conversation(one, make.user("other"), "the first")
    page = visit(one, path=f"messages/{group}")
    expect(page.get_by_role("log")).to_contain_text("the first")
    page.route(f"**/api/messages/{group}", lambda route: route.abort())
    send(page, "the second")
    expect(page.get_by_role("textbox", name="New message")).to_have_value("")
    page.unroute_all()

    expect(page.get_by_role("log")).to_contain_text("the second")


def test_first_message_does_not_call_the_user_back(visit: Visit, make: Make) -> None:
    make.user("other")
    page = visit(make.user(), path="messages/@other")
    held = Held(page, "**/api/messages")
    with page.expect_request("**/api/messages"):
        send(page, "Hello!")
    go(page, "Search")
    expect(page.get_by_role("searchbox")).to_be_visible()
    with page.expect_response("**/api/messages"):
        held.release()
    expect(page.locator("[aria-live]")).to_contain_text("Sent.")

    expect(page).to_have_url(re.compile("/search$"))


def test_messages_of_a_page_that_was_left_stay_unread(visit: Visit, make: Make) -> None:
    reader = make.user()
    group = make.conversation(make.user("one"), reader, "Hello!")
    page = visit(reader, path="messages")
    expect(page.get_by_role("main")).to_contain_text("1 unread")
    held = Held(page, f"**/api/messages/{group}")
    with page.expect_request(f"**/api/messages/{group}"):
        page.get_by_role("link", name="Test User @one").click()
    page.go_back()
    with page.expect_response(f"**/api/messages/{group}"):
        held.release()
    page.unroute_all()
    with page.expect_response("**/livez"):
        page.evaluate("fetch('livez')")
    page.reload()
    expect(page.get_by_role("main")).to_contain_text("1 unread")

    page.get_by_role("link", name="Test User @one").click()
    expect(page.get_by_role("log")).to_contain_text("Hello!")
    go(page, "Messages")
    expect(page.get_by_role("main")).to_contain_text("Test User @one")
    expect(page.get_by_role("main")).not_to_contain_text("unread")
