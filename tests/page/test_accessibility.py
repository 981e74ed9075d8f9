"""Accessibility by axe-core on each page, light and dark; a keyboard alone; narrow screens; weight."""

import gzip
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.factories import Make, User
from tests.page.conftest import Visit, card

pytestmark = pytest.mark.slow

MAX_REQUESTS, MAX_BYTES = 12, 100_000


def make_reader(make: Make) -> User:
    """Return a user with something on every page."""
    reader, author, other = make.user("reader"), make.user("author", bio="Writes."), make.user("other")
    activity = make.activity(author, "Hello #world, @reader! https://example.com/")
    for user in (author, other):
        make.tag(make.activity(user, "about #databases", age="1 hour"), "databases")
    make.mention(activity, reader)
    make.activity(reader, "a reply", reply_to=activity)
    make.like(make.activity(reader, "of my own", age="2 hours"), author)
    make.repost(activity, reader)
    make.like(activity, reader)
    make.follow(author, reader, other)
    make.conversation(author, reader, "one", "two")
    return reader


def status_path(make: Make) -> str:
    """Return the path of the author's page of the activity with a reply."""
    (uuid,) = make.owner.execute("SELECT uuid FROM activities WHERE message LIKE 'Hello%'").fetchone()
    return f"@author/status/{uuid}"


def paths(make: Make) -> list[str]:
    """Return a path for each page."""
    (group,) = make.owner.execute("SELECT uuid FROM message_groups").fetchone()
    return [
        *("", "?feed=following", "@author", "@reader", "@reader?list=liked", status_path(make), "@missing"),
        *("search", "search?term=hello", "tags/databases", "notifications", "account", "messages", f"messages/{group}"),
        *("messages/@other", "@author/status/00000000-0000-4000-8000-000000000000"),
    ]


def wait_for_content(page: Page) -> None:
    """Wait until the page has loaded its content."""
    expect(page.locator("main h1").first).to_be_visible()
    expect(page.locator("[aria-busy]")).to_have_count(0)
    page.wait_for_load_state("networkidle")


def violations(page: Page) -> list[str]:
    """Return what axe-core finds."""
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in Axe().run(page).response["violations"]]


@pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1280)])
def test_pages_have_no_violations(
    subtests: pytest.Subtests, visit: Visit, make: Make, *, scheme: str, width: int
) -> None:
    page = visit(make_reader(make), color_scheme=scheme, viewport={"width": width, "height": 800})
    for path in paths(make):
        with subtests.test(path):
            page.goto(path)
            wait_for_content(page)

            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate("document.title").endswith("Cruddur")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_pages_of_anonymous_clients_have_no_violations(
    subtests: pytest.Subtests, visit: Visit, make: Make, *, scheme: str, width: int
) -> None:
    make_reader(make)
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    for path in ("", "@author", status_path(make), "search?term=hello", "tags/databases", "notifications"):
        with subtests.test(path):
            page.goto(path)
            wait_for_content(page)

            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") == width


def test_header_has_its_links_in_one_row(visit: Visit, make: Make) -> None:
    for width in (700, 800, 1100):
        page = visit(make.user(display_name="Andrew Brown"), viewport={"width": width, "height": 800})
        links = page.get_by_role("navigation", name="Main").get_by_role("link")
        expect(links).to_have_count(5)
        account = page.get_by_role("button", name="Sign out").bounding_box()
        logo = page.get_by_role("link", name="Cruddur").bounding_box()

        assert len({link.bounding_box()["y"] for link in links.all()}) == 1
        # The account is beside the logo, and not below it.
        assert account["y"] < logo["y"] + logo["height"]


def test_dialogs_have_no_violations(subtests: pytest.Subtests, visit: Visit, make: Make) -> None:
    page = visit(make_reader(make), path="@author")
    for name in ("Mute", "Block", "Report"):
        with subtests.test(name):
            page.get_by_role("region", name="Profile").get_by_role("button", name=name).click()
            expect(page.get_by_role("dialog")).to_be_visible()

            assert violations(page) == []
            page.keyboard.press("Escape")
            expect(page.get_by_role("dialog")).to_have_count(0)
            expect(page.get_by_role("region", name="Profile").get_by_role("button", name=name)).to_be_focused()


def tab_to(page: Page, is_there: Callable[[], bool]) -> None:
    """Press Tab until the focus is there."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if is_there():
            return
    raise AssertionError("Tab does not lead there")


def test_keyboard_alone_posts_likes_and_deletes(visit: Visit, make: Make) -> None:
    author = make.user("author")
    page = visit(author)
    text = page.get_by_role("textbox", name="New crud")
    expect(text).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(text).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Control+Enter")
    shown = card(page, "by keyboard")
    expect(shown).to_be_visible()

    like = shown.get_by_role("button", name="Like")
    tab_to(page, lambda: like.evaluate("each => each === document.activeElement"))
    page.keyboard.press("Space")
    expect(like).to_have_attribute("aria-pressed", "true")
    delete = shown.get_by_role("button", name="Delete")
    tab_to(page, lambda: delete.evaluate("each => each === document.activeElement"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("button", name="Delete")).to_be_focused()
    page.keyboard.press("Enter")
    expect(shown).to_have_count(0)
    assert make.messages() == []


def test_keyboard_moves_between_pages(visit: Visit, make: Make) -> None:
    make.activity(make.user("author", display_name="An Author"), "hello")
    page = visit()
    expect(card(page, "hello")).to_be_visible()
    author = card(page, "hello").get_by_role("link", name="An Author @author")
    tab_to(page, lambda: author.evaluate("each => each === document.activeElement"))
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="An Author")).to_be_visible()
    expect(page.get_by_role("main")).to_be_focused()
    page.go_back()
    expect(author).to_be_visible()


def test_page_does_not_move_by_itself(visit: Visit) -> None:
    page = visit(reduced_motion="reduce")
    page.wait_for_load_state("networkidle")
    moving = "getComputedStyle(each).animationName !== 'none' || getComputedStyle(each).transitionDuration !== '0s'"
    assert page.evaluate(f"[...document.querySelectorAll('*')].filter(each => {moving}).length") == 0


def test_first_page_is_light(visit: Visit, make: Make) -> None:
    author = make.user()
    for number in range(30):
        make.tag(make.activity(author, f"number {number} " + "lorem ipsum " * 20), "lorem")
    page = visit(path="livez")
    bodies: list[bytes] = []
    page.on("requestfinished", lambda request: bodies.append(request.response().body()))
    page.goto("")
    expect(page.get_by_role("article")).to_have_count(20)
    page.wait_for_load_state("networkidle")
    # The polls come later.
    assert len(bodies) <= MAX_REQUESTS
    assert sum(len(gzip.compress(body)) for body in bodies) <= MAX_BYTES
