"""Signing in by Cognito's managed login."""

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests import tokens
from tests.factories import Make, User
from tests.page.conftest import Held, Visit, session
from tests.page.managed_login import ManagedLogin, managed_login
from tests.service import serving

pytestmark = pytest.mark.slow


@pytest.fixture
def login() -> Iterator[ManagedLogin]:
    """Run Cognito's managed login on this machine."""
    with managed_login() as login:
        yield login


@pytest.fixture
def has_domain() -> bool:
    """Return whether the service has the setting AWS_COGNITO_DOMAIN."""
    return True


@pytest.fixture
def site(service_url: str, pool: dict[str, str], login: ManagedLogin, has_domain: bool) -> Iterator[str]:  # noqa: FBT001
    """Run the service with a user pool."""
    domain = {"AWS_COGNITO_DOMAIN": login.url} if has_domain else {}
    with serving(service_url, **pool, **domain, WEB_CONCURRENCY="1") as port:
        login.redirect_uri = f"http://127.0.0.1:{port}/"
        yield login.redirect_uri


@pytest.fixture
def user(make: Make, login: ManagedLogin) -> User:
    """Return the user who has a session at Cognito."""
    user = make.user("LinYue", display_name="Lin Yue")
    login.sub = user.cognito_user_id
    return user


def test_user_signs_in_and_returns_to_the_same_page(visit: Visit, user: User, site: str) -> None:
    page = visit(path="@linyue")
    sign_in(page)

    expect(page.get_by_role("banner")).to_contain_text(user.display_name)
    expect(page).to_have_url(f"{site}@linyue")
    expect(page.get_by_role("button", name="Edit profile")).to_be_visible()
    page.reload()
    expect(page.get_by_role("banner")).to_contain_text(user.display_name)
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length") == 0


def test_user_signs_in_to_like_and_returns_to_the_same_page(visit: Visit, user: User, site: str, make: Make) -> None:
    activity = make.activity(make.user("author"), "worth a like")
    page = visit(path="@author")
    page.get_by_role("button", name="Like, 0 likes").click()
    page.get_by_role("dialog", name="Sign in").get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("banner")).to_contain_text(user.display_name)
    expect(page).to_have_url(f"{site}@author")
    page.get_by_role("button", name="Like, 0 likes").click()
    expect(page.get_by_role("button", name="Like, 1 like")).to_be_visible()
    assert make.likes(activity) == [user.uuid]


def test_user_signs_in_from_a_private_page(visit: Visit, user: User, site: str) -> None:
    page = visit(path="notifications")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("banner")).to_contain_text(user.display_name)
    expect(page).to_have_url(f"{site}notifications")
    expect(page.get_by_text("No notifications.")).to_be_visible()


def test_response_to_another_request_signs_nobody_in(visit: Visit, user: User, login: ManagedLogin) -> None:
    login.state = "forged"
    page = visit()
    sign_in(page)
    page.wait_for_url("http://127.0.0.1:*/")

    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("banner")).not_to_contain_text(user.display_name)
    assert "/oauth2/token" not in login.requests


def test_used_code_signs_nobody_in(visit: Visit, login: ManagedLogin) -> None:
    login.refuses = True
    page = visit()
    sign_in(page)

    expect(page.get_by_role("dialog", name="Sign in")).to_contain_text("Signing in failed.")
    assert login.requests[-1] == "/oauth2/token"


@pytest.mark.usefixtures("user")
def test_token_is_refreshed_before_its_end(visit: Visit, login: ManagedLogin) -> None:
    # Within the last half minute of a token, the page gets another one.
    login.seconds = 29
    page = visit()
    sign_in(page)
    expect(page.get_by_role("textbox", name="New crud")).to_be_visible()

    assert login.requests.count("/oauth2/token") > 1
    assert "refreshToken" in session(page)


@pytest.mark.usefixtures("user")
def test_refused_refresh_ends_the_sign_in(visit: Visit, login: ManagedLogin) -> None:
    page = visit()
    sign_in(page)
    expect(page.get_by_role("textbox", name="New crud")).to_be_visible()
    login.refuses = True
    set_expiry(page, 0)
    page.reload()

    expect(page.get_by_role("dialog", name="Sign in")).to_contain_text("Your sign-in has ended.")
    assert session(page) == {}


def test_user_signs_out_here_and_at_cognito(visit: Visit, user: User, login: ManagedLogin) -> None:
    page = visit()
    sign_in(page)
    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("banner")).not_to_contain_text(user.display_name)
    assert login.requests[-2:] == ["/oauth2/revoke", "/logout"]
    assert session(page) == {}


def set_expiry(page: Page, milliseconds: int) -> None:
    """Change when the stored token ends by the browser's clock."""
    page.evaluate(
        """expiresAt => sessionStorage.setItem("cruddur.session",
            JSON.stringify({...JSON.parse(sessionStorage.getItem("cruddur.session")), expiresAt}))""",
        milliseconds,
    )


@pytest.mark.usefixtures("user")
def test_refresh_after_sign_out_signs_nobody_in(visit: Visit) -> None:
    page = visit()
    sign_in(page)
    expect(page.get_by_role("textbox", name="New crud")).to_be_visible()
    set_expiry(page, 0)
    held = Held(page, "**/oauth2/token")
    page.route("**/oauth2/revoke", lambda route: None)  # noqa: ARG005 - Playwright passes the route
    with page.expect_request("**/oauth2/token"):
        page.reload()
    page.get_by_role("button", name="Sign out").click()
    with page.expect_response("**/oauth2/token"):
        held.release()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()

    assert session(page) == {}


@pytest.mark.usefixtures("user")
def test_busy_login_page_does_not_end_the_sign_in(visit: Visit) -> None:
    page = visit()
    sign_in(page)
    expect(page.get_by_role("textbox", name="New crud")).to_be_visible()
    set_expiry(page, 0)
    headers = {"Access-Control-Allow-Origin": "*"}
    page.route("**/oauth2/token", lambda route: route.fulfill(status=429, headers=headers))
    with page.expect_response("**/oauth2/token"):
        page.reload()

    expect(page.get_by_role("textbox", name="New crud")).to_be_visible()
    assert "refreshToken" in session(page)


def test_refused_token_is_refreshed_once(visit: Visit, login: ManagedLogin, make: Make, user: User) -> None:
    page = visit()
    sign_in(page)
    text = page.get_by_role("textbox", name="New crud")
    expect(text).to_be_visible()
    # A clock that was set back hides the token's end.
    page.evaluate(
        """token => sessionStorage.setItem("cruddur.session",
            JSON.stringify({...JSON.parse(sessionStorage.getItem("cruddur.session")), accessToken: token}))""",
        tokens.token(user.cognito_user_id, exp=int(time.time()) - 3600),
    )
    page.reload()
    text.fill("still signed in")
    page.get_by_role("button", name="Post", exact=True).click()

    expect(page.get_by_role("article").filter(has_text="still signed in")).to_be_visible()
    assert login.requests.count("/oauth2/token") == 2
    assert make.messages() == ["still signed in"]


def test_forged_token_in_a_link_does_nothing(visit: Visit, user: User) -> None:
    page = visit(path=f"#token={tokens.token(user.cognito_user_id)}")

    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("banner")).not_to_contain_text(user.display_name)
    assert (session(page), "token" in page.url) == ({}, False)


@pytest.mark.parametrize("has_domain", [False])
def test_page_says_why_it_cannot_sign_in(visit: Visit, user: User) -> None:
    page = visit(path=f"#token={tokens.token(user.cognito_user_id)}")
    sign_in(page)

    expect(page.get_by_role("dialog")).to_contain_text("AWS_COGNITO_DOMAIN is not set")
    assert session(page) == {}


def sign_in(page: Page) -> None:
    """Click the button."""
    page.get_by_role("banner").get_by_role("button", name=re.compile("Sign in")).click()
