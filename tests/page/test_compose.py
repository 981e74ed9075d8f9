"""Writing: a new activity, its draft, and a message that is sent once."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from harness.proxy import proxy
from harness.waiting import wait_until
from tests.factories import Make
from tests.page.conftest import Held, Visit, card, go, token

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]

STORED = "SELECT message, (expires_at - created_at)::text FROM activities WHERE user_uuid = %s ORDER BY created_at"
DIALOG = "Your sign-in has ended. Sign in again; your draft is kept."


def text_box(page: Page) -> Locator:
    """Return the field of a new activity."""
    return page.get_by_role("textbox", name="New crud")


def post(page: Page, message: str) -> None:
    """Write an activity and send it."""
    text_box(page).fill(message)
    page.get_by_role("button", name="Post", exact=True).click()


def stored(make: Make, user: Any) -> list[tuple[str, str]]:
    """Return message and lifetime of a user's activities."""
    return make.owner.execute(STORED, [user.uuid]).fetchall()


def lose_response(route: Route) -> None:
    """Send a request, and lose its response."""
    route.fetch()
    route.abort()


@pytest.mark.parametrize(
    ("ttl", "lifetime"),
    [
        ("30 days", "30 days"),
        ("7 days", "7 days"),
        ("3 days", "3 days"),
        ("1 day", "1 day"),
        ("12 hours", "12:00:00"),
        ("3 hours", "03:00:00"),
        ("1 hour", "01:00:00"),
    ],
)
def test_user_posts_with_each_ttl(visit: Visit, make: Make, ttl: str, lifetime: str) -> None:
    author = make.user("LinYue", display_name="Lin Yue")
    page = visit(author)
    page.get_by_role("combobox", name="Disappears after").select_option(ttl)
    post(page, "Hello from the page")

    expect(card(page, "Hello from the page").get_by_role("link", name="Lin Yue @LinYue")).to_be_visible()
    expect(page.locator("[aria-live]")).to_contain_text("Posted.")
    expect(text_box(page)).to_have_value("")
    expect(text_box(page)).to_be_focused()
    assert stored(make, author) == [("Hello from the page", lifetime)]


def test_counter_counts_code_points(visit: Visit, make: Make) -> None:
    page = visit(make.user())
    for text, left in [
        ("", "280 characters left"),
        ("a😀", "278 characters left"),
        ("😀" * 279, "1 character left"),
        ("a" * 281, "1 characters too many"),
    ]:
        text_box(page).fill(text)
        expect(page.get_by_text(left)).to_be_visible()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("\u200b", "Write something first."),
        ("a" * 281, "A crud has at most 280 characters."),
        ("😀" * 281, "A crud has at most 280 characters."),
    ],
)
def test_refused_message_is_kept_and_explained(visit: Visit, make: Make, message: str, error: str) -> None:
    author = make.user()
    page = visit(author)
    post(page, message)

    expect(page.get_by_role("alert").filter(has_text=error)).to_be_visible()
    expect(text_box(page)).to_have_value(message)
    assert stored(make, author) == []


def test_longest_message_is_posted(visit: Visit, make: Make) -> None:
    author = make.user()
    page = visit(author)
    post(page, "😀" * 280)

    expect(card(page, "😀" * 280)).to_be_visible()
    assert [message for message, _ in stored(make, author)] == ["😀" * 280]


def test_double_click_posts_once(visit: Visit, make: Make) -> None:
    author = make.user()
    page = visit(author)
    text_box(page).fill("only once")
    page.get_by_role("button", name="Post", exact=True).dblclick()

    expect(card(page, "only once")).to_have_count(1)
    expect(text_box(page)).to_have_value("")
    assert [message for message, _ in stored(make, author)] == ["only once"]


def test_lost_response_posts_once(visit: Visit, make: Make, site: str) -> None:
    author = make.user()
    port = site.rpartition(":")[2].rstrip("/")
    with proxy(port) as network:
        page = visit(author, url=f"http://127.0.0.1:{network.port}/")
        expect(text_box(page)).to_be_visible()
        network.drop_responses()
        post(page, "lost and found")
        wait_until(lambda: stored(make, author), "a stored activity")
        network.reset()
        expect(page.get_by_text("The response was lost. Sending again.")).to_be_visible()
        network.recover()

        expect(card(page, "lost and found")).to_have_count(1)
        expect(text_box(page)).to_have_value("")
        assert [message for message, _ in stored(make, author)] == ["lost and found"]


def test_lost_response_posts_once_after_a_reload(visit: Visit, make: Make) -> None:
    author = make.user()
    page = visit(author)
    page.route("**/api/activities", lose_response)
    with page.expect_event("requestfailed"):
        post(page, "lost and found")
    page.unroute_all()
    page.reload()
    expect(text_box(page)).to_have_value("lost and found")
    page.get_by_role("button", name="Post", exact=True).click()

    expect(text_box(page)).to_have_value("")
    expect(card(page, "lost and found")).to_have_count(1)
    assert [message for message, _ in stored(make, author)] == ["lost and found"]


def test_text_whose_activity_is_gone_can_be_posted_again(visit: Visit, make: Make) -> None:
    author = make.user()
    page = visit(author)

    def lose_and_expire(route: Route) -> None:
        lose_response(route)
        make.owner.execute("UPDATE activities SET expires_at = now() WHERE user_uuid = %s", [author.uuid])
        page.unroute_all()

    page.route("**/api/activities", lose_and_expire)
    post(page, "once more")
    expect(page.get_by_role("alert").filter(has_text="This is gone.")).to_be_visible()
    expect(text_box(page)).to_have_value("once more")
    page.get_by_role("button", name="Post", exact=True).click()

    expect(card(page, "once more")).to_be_visible()
    assert make.messages() == ["once more"]


def test_offline_user_is_told_so_at_once(visit: Visit, make: Make) -> None:
    author = make.user()
    page = visit(author)
    expect(text_box(page)).to_be_visible()
    page.context.set_offline(True)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    post(page, "for later")

    expect(page.get_by_role("alert").filter(has_text="You are offline.")).to_be_visible()
    assert sent == ["POST"]
    page.context.set_offline(False)
    page.get_by_role("button", name="Post", exact=True).click()
    expect(card(page, "for later")).to_be_visible()
    assert [message for message, _ in stored(make, author)] == ["for later"]


def test_same_text_posts_twice_when_wanted(visit: Visit, make: Make) -> None:
    author = make.user()
    page = visit(author)
    for number in (1, 2):
        post(page, "again")
        expect(card(page, "again")).to_have_count(number)

    assert [message for message, _ in stored(make, author)] == ["again", "again"]


def test_draft_survives_reload(visit: Visit, make: Make) -> None:
    page = visit(make.user())
    page.get_by_role("combobox", name="Disappears after").select_option("1 hour")
    text_box(page).fill("not yet finished")
    page.reload()

    expect(text_box(page)).to_have_value("not yet finished")
    expect(page.get_by_role("combobox", name="Disappears after")).to_have_value("1-hour")
    expect(page.get_by_text("264 characters left")).to_be_visible()


def test_sent_draft_does_not_come_back(visit: Visit, make: Make) -> None:
    page = visit(make.user())
    text_box(page).fill("from two places")
    go(page, "Search")
    go(page, "Home")
    expect(text_box(page)).to_have_value("from two places")
    page.get_by_role("button", name="Post", exact=True).click()
    expect(card(page, "from two places")).to_be_visible()
    page.go_back()
    page.go_back()

    expect(text_box(page)).to_have_value("")


def test_draft_survives_end_of_sign_in(visit: Visit, make: Make) -> None:
    author, end = make.user(), int(time.time()) + 12
    page = visit(path=f"#token={token(author, exp=end)}")
    text_box(page).fill("kept for later")
    wait_until(lambda: time.time() > end + 1, "an expired token")
    page.get_by_role("button", name="Post", exact=True).click()

    expect(page.get_by_role("dialog", name="Sign in")).to_contain_text(DIALOG)
    expect(page.get_by_role("banner").get_by_role("button", name="Sign in")).to_be_visible()
    assert stored(make, author) == []
    page.goto("livez")
    page.goto(f"#token={token(author)}")
    expect(text_box(page)).to_have_value("kept for later")
    page.get_by_role("button", name="Post", exact=True).click()
    expect(card(page, "kept for later")).to_be_visible()


def test_next_user_of_a_tab_sees_no_draft(visit: Visit, make: Make) -> None:
    page = visit(make.user())
    text_box(page).fill("a private thought")
    page.goto("docs")
    page.goto(f"#token={token(make.user())}")

    expect(text_box(page)).to_have_value("")


def test_sign_out_forgets_drafts(visit: Visit, make: Make) -> None:
    page = visit(make.user())
    text_box(page).fill("a private thought")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()

    assert page.evaluate("Object.keys(sessionStorage)") == []


@pytest.mark.parametrize("settings", [{"RATE_LIMIT_USER_WRITES": "1"}])
def test_page_says_when_next_write_may_come(visit: Visit, make: Make) -> None:
    author = make.user()
    page = visit(author)
    post(page, "the first")
    expect(card(page, "the first")).to_be_visible()
    post(page, "the second")

    expect(
        page.get_by_role("alert").filter(has_text=re.compile(r"^Too many requests\. Please wait \d+ seconds?\.$"))
    ).to_be_visible()
    expect(text_box(page)).to_have_value("the second")
    assert [message for message, _ in stored(make, author)] == ["the first"]


def test_sending_leaves_the_focus_where_the_user_went(visit: Visit, make: Make) -> None:
    page = visit(make.user())
    held = Held(page, "**/api/activities")
    with page.expect_request("**/api/activities"):
        post(page, "slowly")
    link = page.get_by_role("link", name="Search")
    link.focus()
    held.release()
    expect(card(page, "slowly")).to_be_visible()

    expect(link).to_be_focused()
