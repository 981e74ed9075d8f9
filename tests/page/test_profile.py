"""Profiles: one's own, and what a reader does with another's."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.factories import Make
from tests.page.conftest import Held, Visit, card, go

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]


def act(page: Page, name: str) -> None:
    """Click a button of the profile's head."""
    page.get_by_role("region", name="Profile").get_by_role("button", name=name, exact=True).click()


def test_profile_shows_user_activities_and_reposts(visit: Visit, make: Make) -> None:
    author, other = make.user("author", display_name="An Author", bio="Writes about #nothing."), make.user("other")
    make.activity(author, "an own one", age="1 hour")
    make.repost(make.activity(other, "a repeated one", age="2 hours"), author)
    make.follow(other, author)
    page = visit(path="@author")

    expect(page.get_by_role("heading", name="An Author")).to_be_visible()
    expect(page).to_have_title("An Author · Cruddur")
    expect(page.get_by_text("Writes about #nothing.")).to_be_visible()
    expect(page.get_by_text("1 crud", exact=True)).to_be_visible()
    expect(page.get_by_role("article")).to_have_text([re.compile("a repeated one"), re.compile("an own one")])
    page.get_by_role("button", name="1 follower").click()
    expect(page.get_by_role("dialog", name="Followers").get_by_role("listitem")).to_have_text("Test User @other")


def test_unknown_profile_says_so(visit: Visit) -> None:
    expect(visit(path="@missing").get_by_role("heading", name="This profile does not exist")).to_be_visible()


def test_user_edits_own_profile(visit: Visit, make: Make) -> None:
    user = make.user("LinYue", display_name="Lin Yue", bio="before")
    page = visit(user, path="@linyue")
    act(page, "Edit profile")
    dialog = page.get_by_role("dialog", name="Edit profile")
    dialog.get_by_role("textbox", name="Name").fill("a" * 51)
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("A name has at most 50 characters.")
    dialog.get_by_role("textbox", name="Name").fill("Lin the Second")
    dialog.get_by_role("textbox", name="About you").fill("after")
    dialog.get_by_role("button", name="Save").click()

    expect(page.get_by_role("heading", name="Lin the Second")).to_be_visible()
    expect(page.get_by_text("after", exact=True)).to_be_visible()
    statement = "SELECT display_name, bio FROM users WHERE uuid = %s"
    assert make.owner.execute(statement, [user.uuid]).fetchall() == [("Lin the Second", "after")]


def test_user_follows_and_unfollows(visit: Visit, make: Make) -> None:
    reader, _ = make.user("reader"), make.user("author")
    page = visit(reader, path="@author")
    before = make.follows()
    act(page, "Follow")
    expect(page.get_by_role("button", name="Unfollow")).to_be_focused()
    assert set(make.follows()) - set(before) == {("reader", "author")}

    act(page, "Unfollow")
    expect(page.get_by_role("button", name="Follow", exact=True)).to_be_visible()
    assert make.follows() == before


def test_user_mutes_for_a_time_and_unmutes(visit: Visit, make: Make) -> None:
    reader, author = make.user(), make.user("author")
    make.activity(author, "muted soon")
    page = visit(reader, path="@author")
    act(page, "Mute")
    page.get_by_role("combobox", name="Mute for").select_option("1 hour")
    page.get_by_role("dialog", name="Mute").get_by_role("button", name="Mute").click()
    expect(page.get_by_role("button", name="Unmute")).to_be_visible()
    statement = "SELECT muted_uuid, (expires_at - created_at)::text FROM mutes WHERE muter_uuid = %s"
    assert make.owner.execute(statement, [reader.uuid]).fetchall() == [(author.uuid, "01:00:00")]
    go(page, "Home")
    expect(page.get_by_role("article").first).to_be_visible()
    expect(card(page, "muted soon")).to_have_count(0)

    go(page, "Profile")
    act(page, "Muted users")
    muted = page.get_by_role("dialog", name="Muted users")
    expect(muted.get_by_role("listitem")).to_have_text("Test User @author")
    muted.get_by_role("link").click()
    act(page, "Unmute")
    expect(page.get_by_role("button", name="Mute", exact=True)).to_be_visible()
    assert make.owner.execute(statement, [reader.uuid]).fetchall() == []


def test_user_blocks_and_unblocks(visit: Visit, make: Make) -> None:
    reader, author = make.user(), make.user("author")
    page = visit(reader, path="@author")
    act(page, "Block")
    page.get_by_role("dialog").get_by_role("button", name="Block").click()
    expect(page.get_by_text("You block this user.")).to_be_visible()
    expect(page.get_by_role("button", name="Follow", exact=True)).to_be_disabled()
    statement = "SELECT blocked_uuid FROM blocks WHERE blocker_uuid = %s"
    assert make.owner.execute(statement, [reader.uuid]).fetchall() == [(author.uuid,)]
    go(page, "Profile")
    act(page, "Blocked users")
    expect(page.get_by_role("dialog", name="Blocked users").get_by_role("listitem")).to_have_text("Test User @author")
    page.get_by_role("dialog").get_by_role("link").click()

    act(page, "Unblock")
    expect(page.get_by_role("button", name="Block", exact=True)).to_be_visible()
    assert make.owner.execute(statement, [reader.uuid]).fetchall() == []


def test_user_reports_user_and_activity(visit: Visit, make: Make) -> None:
    reader, author = make.user("reader"), make.user("author")
    make.activity(author, "spam spam spam")
    page = visit(reader, path="@author")
    for button, category in [
        (page.get_by_role("region", name="Profile"), "Spam"),
        (card(page, "spam spam spam"), "Harassment"),
    ]:
        button.get_by_role("button", name="Report").click()
        dialog = page.get_by_role("dialog", name="Report to the operators")
        dialog.get_by_role("combobox", name="Reason").select_option(category)
        dialog.get_by_role("textbox", name="Comment").fill(f"It is {category}")
        dialog.get_by_role("button", name="Report").click()
        expect(page.get_by_text("Thank you. The operators will see your report.").last).to_be_visible()
        page.get_by_role("dialog").get_by_role("button", name="Close").click()

    statement = (
        "SELECT category, comment, activity_uuid IS NULL FROM reports WHERE reporter_uuid = %s ORDER BY created_at"
    )
    assert make.owner.execute(statement, [reader.uuid]).fetchall() == [
        ("spam", "It is Spam", True),
        ("harassment", "It is Harassment", False),
    ]


def test_user_sees_own_likes(visit: Visit, make: Make) -> None:
    reader = make.user("reader")
    make.like(make.activity(make.user(), "a liked one"), reader)
    page = visit(reader, path="@reader")
    page.get_by_role("link", name="Likes").click()

    expect(page.get_by_role("article")).to_have_text(re.compile("a liked one"))


def test_new_name_appears_in_the_header(visit: Visit, make: Make) -> None:
    page = visit(make.user("reader", display_name="Before"), path="@reader")
    act(page, "Edit profile")
    page.get_by_role("textbox", name="Name").fill("Afterwards")
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_role("banner")).to_contain_text("Afterwards")


def test_follow_counts(visit: Visit, make: Make) -> None:
    make.user("author")
    page = visit(make.user(), path="@author")
    page.get_by_role("region", name="Profile").get_by_role("button", name="Follow", exact=True).dblclick()
    expect(page.get_by_role("button", name="Unfollow")).to_be_focused()

    expect(page.get_by_role("button", name="1 follower", exact=True)).to_be_visible()


def test_mute_and_block_clear_the_page_to_go_back_to(visit: Visit, make: Make) -> None:
    author = make.user("author")
    make.activity(author, "hidden soon")
    make.activity(make.user(), "of another")
    page = visit(make.user())
    card(page, "hidden soon").get_by_role("link", name="@author").click()
    act(page, "Mute")
    page.get_by_role("dialog").get_by_role("button", name="Mute").click()
    expect(page.get_by_role("button", name="Unmute")).to_be_focused()
    page.go_back()

    expect(card(page, "of another")).to_be_visible()
    expect(card(page, "hidden soon")).to_have_count(0)


def test_impatient_clicks_open_one_dialog(visit: Visit, make: Make) -> None:
    make.user("author")
    page = visit(path="@author")
    held = Held(page, "**/users.js")
    with page.expect_request("**/users.js"):
        page.get_by_role("button", name="0 followers").dblclick()
    held.release()
    expect(page.get_by_role("dialog")).to_contain_text("No users.")

    expect(page.get_by_role("dialog")).to_have_count(1)
