"""Conversations between two browsers."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.factories import Make
from tests.page.conftest import Held, Visit, go

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]

PAGE_ROWS = 20


def send(page: Page, message: str) -> None:
    """Write a message and send it."""
    page.get_by_role("textbox", name="New message").fill(message)
    page.get_by_role("button", name="Send").click()


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
