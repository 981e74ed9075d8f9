"""Notifications, and the number of unread ones."""

import pytest
from playwright.sync_api import expect

from tests.factories import Make
from tests.page.conftest import Held, Visit, card, poll_now, scroll_to_end

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]


def test_user_reads_notifications(visit: Visit, make: Make) -> None:
    reader, fan = make.user("reader"), make.user("fan", display_name="A Fan")
    activity = make.activity(reader, "liked and reposted")
    make.like(activity, fan)
    make.repost(activity, fan)
    make.follow(fan, reader)
    make.activity(fan, "a reply", reply_to=activity)
    make.mention(make.activity(fan, "hello @reader"), reader)
    page = visit(reader)
    page.get_by_role("link", name="Notifications, 5 unread").click()

    for text in ("replied", "mentioned you", "likes your crud", "reposted your crud", "follows you"):
        expect(page.get_by_role("listitem").filter(has_text=f"A Fan @fan {text}")).to_be_visible()
    expect(page.get_by_role("link", name="Notifications", exact=True)).to_be_visible()
    (marker,) = make.owner.execute(
        "SELECT read_at = (SELECT max(created_at) FROM activities WHERE user_uuid = %s)"
        " FROM read_markers WHERE user_uuid = %s",
        [fan.uuid, reader.uuid],
    ).fetchone()
    assert marker
    page.reload()
    expect(page.get_by_role("link", name="Notifications", exact=True)).to_be_visible()


def test_new_notifications_appear_above_the_known_ones(visit: Visit, make: Make) -> None:
    reader = make.user("reader")
    make.mention(make.activity(make.user(), "the old one @reader", age="1 hour"), reader)
    page = visit(reader, path="notifications")
    expect(card(page, "the old one")).to_be_visible()
    for number in (2, 1):
        make.mention(make.activity(make.user(), f"{number} minutes old @reader", age=f"{number} minutes"), reader)
    poll_now(page)
    expect(page.get_by_role("article")).to_have_count(3)

    texts = page.locator("article .message").all_inner_texts()
    assert texts == ["1 minutes old @reader", "2 minutes old @reader", "the old one @reader"]


def test_many_unread_notifications_are_counted_to_100(visit: Visit, make: Make) -> None:
    reader = make.user("reader")
    for _ in range(101):
        make.follow(make.user(), reader)

    expect(visit(reader).get_by_role("link", name="Notifications, 100+ unread")).to_be_visible()


def test_new_notification_appears_on_the_open_page(visit: Visit, make: Make) -> None:
    reader = make.user("reader")
    page = visit(reader, path="notifications")
    expect(page.get_by_text("No notifications.")).to_be_visible()
    make.mention(make.activity(make.user(), "hello @reader"), reader)
    poll_now(page)

    expect(card(page, "hello @reader")).to_be_visible()


def test_anonymous_client_is_asked_to_sign_in(visit: Visit) -> None:
    page = visit(path="notifications")

    expect(page.get_by_role("heading", name="Sign in to see this page.")).to_be_visible()
    expect(page.get_by_role("main").get_by_role("button", name="Sign in")).to_be_visible()


def test_many_new_notifications_leave_no_gap(visit: Visit, make: Make) -> None:
    reader = make.user("reader")
    make.mention(make.activity(make.user(), "the old one @reader", age="1 hour"), reader)
    page = visit(reader, path="notifications")
    expect(card(page, "the old one")).to_be_visible()
    author = make.user()
    for number in range(25):
        make.mention(make.activity(author, f"number {number:02} @reader", age=f"{number} minutes"), reader)
    poll_now(page)
    expect(card(page, "number 00")).to_be_visible()
    scroll_to_end(page)

    texts = page.locator("article .message").all_inner_texts()
    assert texts == [f"number {number:02} @reader" for number in range(25)] + ["the old one @reader"]


def test_number_of_unread_changes_under_the_focus(visit: Visit, make: Make) -> None:
    reader = make.user("reader")
    make.mention(make.activity(make.user(), "hello @reader"), reader)
    page = visit(reader, path="search")
    page.clock.install()
    page.reload()
    page.get_by_role("link", name="Notifications, 1 unread").focus()
    make.mention(make.activity(make.user(), "again @reader"), reader)
    page.clock.run_for(31_000)

    expect(page.get_by_role("link", name="Notifications, 2 unread")).to_be_focused()


def test_notifications_of_a_page_that_was_left_stay_unread(visit: Visit, make: Make) -> None:
    reader = make.user("reader")
    make.mention(make.activity(make.user(), "hello @reader"), reader)
    page = visit(reader)
    expect(card(page, "hello @reader")).to_be_visible()
    held = Held(page, "**/api/notifications")
    with page.expect_request("**/api/notifications"):
        page.get_by_role("link", name="Notifications, 1 unread").click()
    page.go_back()
    with page.expect_response("**/api/notifications"):
        held.release()
    page.unroute_all()
    with page.expect_response("**/livez"):
        page.evaluate("fetch('livez')")
    expect(page.get_by_role("link", name="Notifications, 1 unread")).to_be_visible()
    markers = "SELECT FROM read_markers WHERE user_uuid = %s"
    assert make.owner.execute(markers, [reader.uuid]).fetchall() == []

    page.go_forward()
    expect(card(page, "hello @reader")).to_be_visible()
    expect(page.get_by_role("link", name="Notifications", exact=True)).to_be_visible()
    assert len(make.owner.execute(markers, [reader.uuid]).fetchall()) == 1
