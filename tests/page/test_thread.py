"""A thread: an activity, what readers do with it, and its end."""

import re

import pytest
from playwright.sync_api import expect

from tests.factories import Activity, Make
from tests.page.conftest import Visit, card

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]


def path_of(activity: Activity) -> str:
    """Return the path of an activity's page."""
    return f"@{activity.author.handle}/status/{activity.uuid}"


def test_thread_shows_activity_and_replies(visit: Visit, make: Make) -> None:
    activity = make.activity(make.user("author", display_name="An Author"), "the question", age="1 hour")
    make.activity(make.user(), "the first answer", reply_to=activity, age="30 minutes")
    make.activity(make.user(), "the second answer", reply_to=activity)
    page = visit(path=path_of(activity))

    expect(page.get_by_role("heading", name="Crud by An Author")).to_be_visible()
    expect(page).to_have_title("Crud by An Author · Cruddur")
    replies = page.get_by_role("list", name="Replies").get_by_role("article")
    expect(replies).to_have_text([re.compile("the first answer"), re.compile("the second answer")])
    expect(page.get_by_role("link", name="Reply, 2 replies")).to_be_visible()


def test_user_replies(visit: Visit, make: Make) -> None:
    activity = make.activity(make.user("author"), "the question")
    reader = make.user()
    page = visit(reader)
    card(page, "the question").get_by_role("link", name="Reply, 0 replies").click()
    page.get_by_role("textbox", name="Your reply").fill("the answer")
    page.get_by_role("button", name="Reply", exact=True).click()

    expect(page.get_by_role("list", name="Replies")).to_contain_text("the answer")
    expect(page.get_by_role("link", name="Reply, 1 reply")).to_be_visible()
    statement = "SELECT message, reply_to_activity_uuid FROM activities WHERE user_uuid = %s"
    assert make.owner.execute(statement, [reader.uuid]).fetchall() == [("the answer", activity.uuid)]
    page.go_back()
    expect(card(page, "the question").get_by_role("link", name="Reply, 1 reply")).to_be_visible()


def test_user_likes_and_unlikes(visit: Visit, make: Make) -> None:
    activity, reader = make.activity(make.user(), "worth a like"), make.user()
    page = visit(reader)
    shown = card(page, "worth a like")
    shown.get_by_role("button", name="Like, 0 likes").click()
    expect(shown.get_by_role("button", name="Like, 1 like")).to_have_attribute("aria-pressed", "true")
    expect(shown.get_by_role("button", name="Like, 1 like")).to_be_focused()
    assert make.likes(activity) == [reader.uuid]

    page.keyboard.press("Enter")
    expect(shown.get_by_role("button", name="Like, 0 likes")).to_have_attribute("aria-pressed", "false")
    assert make.likes(activity) == []


def test_user_reposts_and_undoes_it(visit: Visit, make: Make) -> None:
    activity, reader = make.activity(make.user(), "worth repeating"), make.user()
    page = visit(reader)
    shown = card(page, "worth repeating")
    shown.get_by_role("button", name="Repost, 0 reposts").click()
    expect(shown.get_by_role("button", name="Repost, 1 repost")).to_have_attribute("aria-pressed", "true")
    assert make.reposts(activity) == [reader.uuid]

    shown.get_by_role("button", name="Repost, 1 repost").click()
    expect(shown.get_by_role("button", name="Repost, 0 reposts")).to_be_visible()
    assert make.reposts(activity) == []


def test_anonymous_client_is_asked_to_sign_in(visit: Visit, make: Make) -> None:
    activity = make.activity(make.user(), "worth a like")
    page = visit()
    card(page, "worth a like").get_by_role("button", name="Like, 0 likes").click()

    expect(page.get_by_role("dialog", name="Sign in")).to_contain_text("Sign in to do this.")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(card(page, "worth a like").get_by_role("button", name="Like, 0 likes")).to_be_focused()
    assert make.likes(activity) == []


def test_likes_and_reposts_are_listed(visit: Visit, make: Make) -> None:
    activity = make.activity(make.user(), "popular")
    make.like(activity, make.user("one", display_name="User One"), make.user("two"))
    make.repost(activity, make.user("three"))
    page = visit(path=path_of(activity))
    page.get_by_role("button", name="2 likes", exact=True).click()

    dialog = page.get_by_role("dialog", name="Liked by")
    expect(dialog.get_by_role("listitem")).to_have_count(2)
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="1 repost", exact=True).click()
    page.get_by_role("dialog", name="Reposted by").get_by_role("link", name="@three").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile("/@three$"))


def test_share_copies_link(visit: Visit, make: Make, site: str) -> None:
    activity = make.activity(make.user(), "worth sharing")
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    card(page, "worth sharing").get_by_role("button", name="Share").click()

    expect(page.locator("[aria-live]")).to_contain_text("Link copied.")
    assert page.evaluate("navigator.clipboard.readText()") == f"{site}{path_of(activity)}"


def test_share_shows_link_without_a_clipboard(visit: Visit, make: Make, site: str) -> None:
    activity = make.activity(make.user(), "worth sharing")
    page = visit(path="livez")
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.goto("")
    card(page, "worth sharing").get_by_role("button", name="Share").click()

    dialog = page.get_by_role("dialog", name="Copy this link")
    expect(dialog.get_by_role("textbox")).to_have_value(f"{site}{path_of(activity)}")


def test_share_uses_the_systems_dialog(visit: Visit, make: Make, site: str) -> None:
    activity = make.activity(make.user(), "worth sharing")
    page = visit(path="livez")
    page.add_init_script("navigator.share = async data => { window.shared = data.url }")
    page.goto("")
    card(page, "worth sharing").get_by_role("button", name="Share").click()

    assert page.evaluate("window.shared") == f"{site}{path_of(activity)}"


def test_author_deletes(visit: Visit, make: Make) -> None:
    author = make.user()
    activity = make.activity(author, "a mistake")
    make.activity(author, "no mistake")
    make.activity(make.user(), "of another")
    page = visit(author)
    expect(card(page, "of another").get_by_role("button", name="Delete")).to_have_count(0)
    card(page, "a mistake").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(card(page, "a mistake")).to_be_visible()

    card(page, "a mistake").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card(page, "a mistake")).to_have_count(0)
    assert make.owner.execute("SELECT FROM live_activities WHERE uuid = %s", [activity.uuid]).fetchall() == []
    expect(card(page, "no mistake")).to_be_visible()
    expect(card(page, "of another")).to_be_visible()


@pytest.mark.parametrize("state", ["expired", "unknown"])
def test_gone_activity_says_so(visit: Visit, make: Make, state: str) -> None:
    activity = make.activity(make.user("author"), "the text", age="70 minutes", ttl="1 hour")
    path = path_of(activity) if state == "expired" else "@author/status/00000000-0000-4000-8000-000000000000"
    page = visit(path="livez")
    response = page.goto(path)

    assert response.status == 404
    expect(page.get_by_role("heading", name="This crud is gone")).to_be_visible()
    expect(page.get_by_text("this one has expired, was deleted, or never existed")).to_be_visible()
    expect(page.get_by_text("the text")).to_have_count(0)


def test_open_thread_ends_with_its_activity(visit: Visit, make: Make) -> None:
    activity = make.activity(make.user(), "it ends soon", age="59 minutes 50 seconds", ttl="1 hour")
    page = visit(path=path_of(activity))
    expect(card(page, "it ends soon")).to_be_visible()

    expect(page.get_by_role("heading", name="This crud is gone")).to_be_visible()
    expect(page.get_by_text("it ends soon")).to_have_count(0)


def test_like_of_a_gone_activity_removes_it(visit: Visit, make: Make) -> None:
    activity = make.activity(make.user(), "gone by now")
    page = visit(make.user())
    expect(card(page, "gone by now")).to_be_visible()
    make.expire(activity)
    card(page, "gone by now").get_by_role("button", name="Like, 0 likes").click()

    expect(page.get_by_role("dialog")).to_contain_text("This is gone.")
    page.get_by_role("button", name="Close").click()
    expect(card(page, "gone by now")).to_have_count(0)


def test_delete_of_a_gone_activity_removes_it(visit: Visit, make: Make) -> None:
    author = make.user()
    activity = make.activity(author, "gone by now")
    page = visit(author)
    card(page, "gone by now").get_by_role("button", name="Delete").click()
    make.expire(activity)
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()

    expect(card(page, "gone by now")).to_have_count(0)
    # The focus goes on to the next activity.
    expect(page.get_by_role("article").first.get_by_role("link").first).to_be_focused()


def test_deleted_reply_is_not_counted(visit: Visit, make: Make) -> None:
    author = make.user()
    activity = make.activity(author, "the question")
    make.activity(author, "a mistake", reply_to=activity)
    make.activity(make.user(), "the answer", reply_to=activity)
    page = visit(author, path=path_of(activity))
    card(page, "a mistake").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()

    expect(page.get_by_role("link", name="Reply, 1 reply")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="Reply, 1 reply")).to_be_visible()
