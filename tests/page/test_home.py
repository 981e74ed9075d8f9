"""The home page: the feed, its countdowns, what is new, and paging."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from harness.waiting import wait_until
from tests.factories import Make
from tests.page.conftest import Held, Visit, card, go, poll_now, scroll_to_end

pytestmark = pytest.mark.slow

PAGE_ROWS = 20
# Until its "load" event a page that Chromium goes back to takes responses from the cache without revalidation.
LATE_LOAD_EVENT = """document.addEventListener("DOMContentLoaded", () => {
    const image = new Image();
    image.src = "/api/activities/@missing";
    document.head.append(image);
})"""
FEED_TIMING = """() => performance.getEntriesByType("resource")
    .filter(({name, responseEnd}) => name.endsWith("/api/activities/home") && responseEnd)
    .map(({startTime, transferSize}) => [startTime, transferSize])"""
LOAD_EVENT = "() => performance.getEntriesByType('navigation')[0].loadEventStart"


def test_anonymous_client_reads_feed(visit: Visit, make: Make) -> None:
    author = make.user("LinYue", display_name="Lin Yue")
    activity = make.activity(
        author, "Ask @kofi about #cloud, see https://example.com/a?b=1.", age="2 hours", ttl="3 hours"
    )
    make.activity(make.user(), "it stays", age="3 hours", ttl=None)
    make.like(activity, make.user())
    page = visit()
    shown = card(page, "Ask @kofi")

    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    expect(shown.get_by_role("link", name="Lin Yue @LinYue")).to_have_attribute("href", "@LinYue")
    expect(shown.get_by_role("link", name="@kofi")).to_have_attribute("href", "@kofi")
    expect(shown.get_by_role("link", name="#cloud")).to_have_attribute("href", "tags/cloud")
    expect(shown.get_by_role("link", name="https://example.com/a?b=1", exact=True)).to_be_visible()
    expect(shown.get_by_role("timer")).to_have_text(re.compile(r"^59 min \d+ s left$|^1 h left$"))
    expect(shown.get_by_role("button", name="Like, 1 like")).to_have_attribute("aria-pressed", "false")
    expect(card(page, "it stays")).to_contain_text("stays")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("textbox")).to_have_count(0)


def test_page_sends_back_what_it_has_seen(visit: Visit) -> None:
    # Responses of a service with standbys. A proxy has joined two headers, and two responses overtake each other.
    values = iter(["0123abcd-1, 0123abcd-2", "0123abcd-9", "0123abcd-10", "0123abcd-8", "4567abcd-1"])
    sent: list[str | None] = []

    def answer(route: Route) -> None:
        sent.append(route.request.headers.get("cruddur-seen"))
        value = next(values, None)
        response = route.fetch()
        route.fulfill(response=response, headers=response.headers | ({"cruddur-seen": value} if value else {}))

    page = visit(path="livez")
    page.route("**/api/activities/home", answer)
    page.goto("")
    for number in range(1, 6):
        expect(page.get_by_text("No crud is live at the moment.")).to_be_visible()
        with page.expect_response("**/api/activities/home"):
            poll_now(page)
        assert len(sent) > number

    assert sent[:6] == [None, None, "0123abcd-9", "0123abcd-10", "0123abcd-10", "4567abcd-1"]


def test_empty_feed_says_so(visit: Visit) -> None:
    expect(visit().get_by_text("No crud is live at the moment.")).to_be_visible()


@pytest.mark.parametrize("clock_error", [0, 3_600_000, -3_600_000])
def test_activity_leaves_page_at_its_expiry_by_server_clock(visit: Visit, make: Make, clock_error: int) -> None:
    author = make.user()
    make.activity(author, "it ends soon", age="59 minutes 48 seconds", ttl="1 hour")
    make.activity(author, "the next one", age="1 day")
    page = visit(path="livez")
    page.add_init_script(f"const real = Date.now; Date.now = () => real() + {clock_error}")
    page.goto("")

    expect(card(page, "it ends soon").get_by_role("timer")).to_have_text(re.compile(r"^\d+ s left$"))
    expect(card(page, "it ends soon")).to_have_count(0)
    expect(card(page, "the next one")).to_be_visible()
    expect(page.locator("[aria-live]")).to_contain_text("A crud has disappeared.")
    # `Date` has whole seconds, so the page knows the server's time to half a second.
    live = "SELECT message FROM live_activities WHERE expires_at > now() + interval '1 second'"
    assert make.owner.execute(live).fetchall() == [("the next one",)]


def test_new_activities_wait_behind_a_button(visit: Visit, make: Make) -> None:
    author = make.user()
    make.activity(author, "old", age="1 hour")
    page = visit()
    expect(card(page, "old")).to_be_visible()
    for number in range(3):
        make.activity(author, f"fresh {number}")
    poll_now(page)
    news = page.get_by_role("button", name="3 new")

    expect(news).to_be_visible()
    expect(page.locator("[aria-live]")).to_contain_text("3 new")
    expect(page.get_by_role("article")).to_have_count(1)
    news.click()
    expect(page.get_by_role("article")).to_have_text(
        [re.compile(text) for text in ("fresh 2", "fresh 1", "fresh 0", "old")]
    )
    expect(news).to_have_count(0)


def test_more_than_a_page_of_new_activities_leaves_no_gap(visit: Visit, make: Make) -> None:
    author = make.user()
    make.activity(author, "old", age="1 hour")
    page = visit()
    expect(card(page, "old")).to_be_visible()
    for number in range(PAGE_ROWS + 5):
        make.activity(author, f"fresh {number:02}")
    poll_now(page)
    page.get_by_role("button", name="20+ new").click()

    scroll_to_end(page)
    expect(page.get_by_role("article")).to_have_count(PAGE_ROWS + 6)
    expect(card(page, "fresh 00")).to_be_attached()


def test_unchanged_feed_is_polled_by_its_etag(visit: Visit, make: Make) -> None:
    make.activity(make.user(), "unchanged")
    page = visit()
    expect(card(page, "unchanged")).to_be_visible()

    with page.expect_response("**/api/activities/home") as response:
        poll_now(page)
    assert (response.value.status, "if-none-match" in response.value.request.headers) == (304, True)


def test_hidden_page_polls_nothing(visit: Visit, make: Make) -> None:
    make.activity(make.user(), "unseen")
    page = visit()
    expect(card(page, "unseen")).to_be_visible()
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 - Playwright refuses built-in functions
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
    poll_now(page)
    with page.expect_response("**/livez"):
        page.evaluate("fetch('livez')")
    assert [request.url.rpartition("/")[2] for request in requests] == ["livez"]

    page.evaluate("delete document.hidden")
    with page.expect_response("**/api/activities/home"):
        poll_now(page)


def test_counters_follow_the_server(visit: Visit, make: Make) -> None:
    activity = make.activity(make.user(), "liked by many")
    page = visit()
    expect(card(page, "liked by many").get_by_role("button", name="Like, 0 likes")).to_be_visible()
    make.like(activity, make.user(), make.user())
    poll_now(page)

    expect(card(page, "liked by many").get_by_role("button", name="Like, 2 likes")).to_be_visible()


def activities(page: Page) -> list[str]:
    """Return the texts of the activities on the page."""
    return page.locator("article .message").all_inner_texts()


def test_scrolling_loads_each_activity_once(visit: Visit, make: Make) -> None:
    author = make.user()
    for number in range(2 * PAGE_ROWS + 5):
        make.activity(author, f"number {number:02}", age=f"{number} minutes")
    page = visit()
    expect(page.get_by_role("article")).to_have_count(PAGE_ROWS)
    scroll_to_end(page)

    assert activities(page) == [f"number {number:02}" for number in range(2 * PAGE_ROWS + 5)]


def test_keyboard_loads_next_page(visit: Visit, make: Make) -> None:
    author = make.user()
    for number in range(PAGE_ROWS + 1):
        make.activity(author, f"number {number:02}", age=f"{number} minutes")
    # Nothing is near this end of the page, so that no scrolling takes part.
    page = visit(viewport={"width": 400, "height": 300})
    more = page.get_by_role("button", name="Show more")
    expect(page.get_by_role("article")).to_have_count(PAGE_ROWS)
    more.focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("article")).to_have_count(PAGE_ROWS + 1)
    expect(more).to_be_hidden()


def test_back_and_forward_keep_the_place(visit: Visit, make: Make) -> None:
    author = make.user()
    for number in range(2 * PAGE_ROWS):
        make.activity(author, f"number {number:02}", age=f"{number} minutes")
    page = visit()
    card(page, "number 19").scroll_into_view_if_needed()
    expect(page.get_by_role("article")).to_have_count(2 * PAGE_ROWS)
    card(page, "number 35").scroll_into_view_if_needed()
    place = page.evaluate("scrollY")
    requests: list[Any] = []
    card(page, "number 35").locator("time").click()
    expect(page.get_by_role("heading", name="Replies")).to_be_visible()
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 - Playwright refuses built-in functions
    page.go_back()

    expect(card(page, "number 35")).to_be_in_viewport()
    assert page.evaluate("scrollY") == place
    assert [request.url for request in requests if "cursor" in request.url] == []
    page.go_forward()
    expect(page.get_by_role("heading", name="Replies")).to_be_visible()


@pytest.mark.parametrize("leave", ["docs", "reload"])
def test_place_survives_another_document(visit: Visit, make: Make, leave: str) -> None:
    author = make.user()
    for number in range(3 * PAGE_ROWS):
        make.activity(author, f"number {number:02}", age=f"{number} minutes")
    page = visit()
    for number in (19, 39, 45):
        card(page, f"number {number:02}").scroll_into_view_if_needed()
    place = page.evaluate("scrollY")
    wait_until(lambda: page.evaluate("history.state.scroll") == place, "the end of the scrolling")
    if leave == "reload":
        page.reload()
    else:
        page.goto(leave)
        page.go_back()

    expect(card(page, "number 45")).to_be_in_viewport()
    assert page.evaluate("scrollY") == place
    assert activities(page) == [f"number {number:02}" for number in range(3 * PAGE_ROWS)]


def test_following_shows_followed_users_and_their_reposts(visit: Visit, make: Make) -> None:
    reader, friend, stranger = make.user(), make.user("friend"), make.user()
    make.activity(friend, "by a friend", age="1 hour")
    make.repost(make.activity(stranger, "reposted by a friend", age="2 hours"), friend)
    make.activity(stranger, "by a stranger")
    make.follow(reader, friend)
    page = visit(reader)
    expect(page.get_by_role("article")).to_have_count(3)
    page.get_by_role("link", name="Following").click()

    expect(page.get_by_role("article")).to_have_count(2)
    expect(card(page, "reposted by a friend")).to_contain_text("Reposted by @friend")
    expect(page.get_by_role("navigation", name="Feeds").get_by_role("link", name="Following")).to_have_attribute(
        "aria-current", "true"
    )


def test_trends_and_suggested_people(visit: Visit, make: Make) -> None:
    reader, author, other = make.user(), make.user("author", display_name="An Author"), make.user("other")
    for user in (author, other):
        make.tag(make.activity(user, "#databases are fun"), "databases")
    make.follow(other, author)
    page = visit(reader)
    aside = page.get_by_role("complementary", name="Discover")

    expect(aside.get_by_role("listitem").first).to_have_text("#databases 2 people")
    expect(aside.get_by_role("link", name="An Author @author")).to_be_visible()
    aside.get_by_role("link", name="#databases").click()
    expect(page.get_by_role("heading", name="#databases")).to_be_visible()
    expect(page.get_by_role("article")).to_have_count(2)


def test_new_activities_behind_the_button_are_the_latest(visit: Visit, make: Make) -> None:
    author = make.user()
    make.activity(author, "old", age="1 hour")
    page = visit()
    expect(card(page, "old")).to_be_visible()
    withdrawn = make.activity(author, "withdrawn")
    poll_now(page)
    expect(page.get_by_role("button", name="1 new")).to_be_visible()
    make.expire(withdrawn)
    make.activity(author, "the latest")

    def is_known() -> bool:
        # The first page may be a second old.
        with page.expect_response("**/api/activities/home") as response:
            poll_now(page)
        return response.value.status == 200 and "the latest" in response.value.text()

    wait_until(is_known, "the latest activity")
    with page.expect_response("**/livez"):
        page.evaluate("fetch('livez')")
    page.get_by_role("button", name="1 new").click()

    expect(card(page, "the latest")).to_be_visible()
    expect(card(page, "withdrawn")).to_have_count(0)


def test_counters_change_under_the_focus(visit: Visit, make: Make) -> None:
    activity = make.activity(make.user(), "liked by many")
    page = visit()
    share = card(page, "liked by many").get_by_role("button", name="Share")
    share.focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('article .message'))")
    make.like(activity, make.user())
    poll_now(page)

    expect(card(page, "liked by many").get_by_role("button", name="Like, 1 like")).to_be_visible()
    expect(share).to_be_focused()
    assert page.evaluate("String(getSelection())") == "liked by many"


def test_slow_page_is_the_one_of_its_own_address(visit: Visit, make: Make) -> None:
    reader, friend = make.user(), make.user()
    make.activity(friend, "by a friend")
    make.activity(make.user(), "by a stranger")
    make.follow(reader, friend)
    page = visit(reader, path="search")
    expect(page.get_by_role("searchbox")).to_be_visible()
    held = Held(page, "**/home.js")
    with page.expect_request("**/home.js"):
        page.evaluate("Object.assign(document.querySelector('.logo'), {href: './?feed=following'}).click()")
    go(page, "Messages")
    expect(page.get_by_text("No conversations yet.")).to_be_visible()
    held.release()
    page.go_back()

    expect(card(page, "by a friend")).to_be_visible()
    expect(card(page, "by a stranger")).to_have_count(0)


def test_back_returns_the_focus(visit: Visit, make: Make) -> None:
    make.activity(make.user("author"), "hello")
    page = visit()
    author = card(page, "hello").get_by_role("link", name="@author")
    author.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Profile")).to_be_visible()
    page.go_back()

    expect(author).to_be_focused()


def test_back_closes_a_dialog(visit: Visit, make: Make) -> None:
    author = make.user("author")
    make.activity(author, "hello")
    page = visit()
    card(page, "hello").get_by_role("link", name="@author").click()
    page.get_by_role("button", name="0 followers").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()

    expect(card(page, "hello")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_rows_of_the_next_page_stay_below(visit: Visit, make: Make) -> None:
    author = make.user()
    known = [make.activity(author, f"number {age - 1:02}", age=f"{age} minutes") for age in range(1, 2 * PAGE_ROWS + 1)]
    page = visit(viewport={"width": 400, "height": 300})
    expect(page.get_by_role("article")).to_have_count(PAGE_ROWS)
    # Older activities move up from the second page.
    for activity in known[3:6]:
        make.expire(activity)
    make.activity(author, "fresh")
    poll_now(page)
    page.get_by_role("button", name="1 new").click()
    scroll_to_end(page)

    shown = [text for text in activities(page) if text not in {"number 03", "number 04", "number 05"}]
    numbers = [*range(3), *range(6, 2 * PAGE_ROWS)]
    assert shown == ["fresh", *(f"number {number:02}" for number in numbers)]


def test_page_gone_back_to_shows_no_stored_feed(visit: Visit, make: Make) -> None:
    make.activity(make.user(), "seen before")
    page = visit(path="livez")
    page.goto("")
    expect(card(page, "seen before")).to_be_visible()
    page.goto("docs")
    page.context.add_init_script(LATE_LOAD_EVENT)
    with make.owner.transaction():
        make.owner.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        page.go_back(wait_until="commit")
        expect(page.get_by_role("heading", name="Home")).to_be_visible()
    wait_until(lambda: page.evaluate(FEED_TIMING) and page.evaluate(LOAD_EVENT), "the feed and the load event")
    start, size = page.evaluate(FEED_TIMING)[0]

    assert start < page.evaluate(LOAD_EVENT)
    assert size > 0
