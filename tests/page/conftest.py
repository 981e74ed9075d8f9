"""Browsers that show Cruddur's page. The page and its service are real."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from harness.browser import CHROMIUM, OPTIONS
from harness.waiting import wait_until
from lib.config import DEVELOPMENT_POOL_ID, UserPool
from ops import dev_keys
from tests import tokens
from tests.factories import User
from tests.service import serving

# A user, or None for an anonymous client; the path to open; and the options of the browser.
Visit = Callable[..., Page]

DEVELOPMENT_POOL = UserPool.of(dev_keys.REGION, DEVELOPMENT_POOL_ID, dev_keys.CLIENT_ID, None, None)
SETTINGS = {
    "AWS_DEFAULT_REGION": dev_keys.REGION,
    "AWS_COGNITO_USER_POOL_ID": DEVELOPMENT_POOL_ID,
    "AWS_COGNITO_USER_POOL_CLIENT_ID": dev_keys.CLIENT_ID,
    "WEB_CONCURRENCY": "1",
}
# Chromium reports each failed response, which tests bring about on purpose.
EXPECTED_MESSAGE = "Failed to load resource"
TIMEOUT_MILLISECONDS = 15_000


def token(user: User, **claims: Any) -> str:
    """Return an access token of the development pool."""
    pool = DEVELOPMENT_POOL
    return tokens.token(user.cognito_user_id, iss=pool.issuer, client_id=pool.client_id, **claims)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Run a browser for all tests of a process."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    expect.set_options(timeout=TIMEOUT_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def settings() -> dict[str, str]:
    """Return the service's settings that a module changes."""
    return {}


@pytest.fixture
def site(service_url: str, jwks_url: str, settings: dict[str, str]) -> Iterator[str]:
    """Run the service with a development pool, and yield the page's URL."""
    with serving(service_url, **SETTINGS, AWS_COGNITO_JWKS_URL=jwks_url, **settings) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def visit(chromium: Browser, site: str) -> Iterator[Visit]:
    """Return a function that opens a page in a browser of its own, in which no script may fail."""
    contexts, faults = [], []

    def record(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(EXPECTED_MESSAGE):
            faults.append(message.text)

    def visit(user: User | None = None, path: str = "", *, url: str = site, **options: Any) -> Page:
        context = chromium.new_context(base_url=url, **options)
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", record)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{path}#token={token(user)}" if user else path)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


def card(page: Page, text: str) -> Any:
    """Return the activity with this text."""
    return page.get_by_role("article").filter(has_text=text)


class Held:
    """The requests of a page that match a pattern. They are sent when a test says so."""

    def __init__(self, page: Page, pattern: str) -> None:
        self.page = page
        self.routes: list[Route] = []
        page.route(pattern, lambda route: self.routes.append(route))  # noqa: PLW0108 - Playwright refuses built-in functions

    def release(self) -> None:
        """Send the first request, as soon as the page has made it."""
        # Playwright handles the page's events during a call.
        wait_until(lambda: self.page.evaluate("true") and self.routes, "a request")
        self.routes[0].continue_()


def go(page: Page, name: str) -> None:
    """Follow a link of the page's navigation."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()


def delete_account(page: Page, handle: str) -> None:
    """Open the form, type a handle and confirm."""
    page.get_by_role("button", name="Delete account").click()
    dialog = page.get_by_role("dialog", name="Delete account")
    dialog.get_by_role("textbox").fill(handle)
    dialog.get_by_role("button", name="Delete for ever").click()


def scroll_to_end(page: Page) -> None:
    """Scroll until the list has no further page."""
    expect(page.get_by_role("article").first).to_be_visible()
    more = page.locator("main .more").last
    while more.is_visible():
        page.mouse.wheel(0, 10_000)
        expect(more).not_to_have_text("Loading")


def poll_now(page: Page) -> None:
    """Let the page ask for news now, as when its tab becomes visible."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def session(page: Page) -> dict[str, Any]:
    """Return what the page stores about its user."""
    stored: dict[str, Any] = json.loads(page.evaluate("sessionStorage.getItem('cruddur.session') ?? '{}'"))
    return stored
