"""The account of a user of a pool, who signs in again before leaving."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from harness.waiting import wait_until
from tests.cognito import DELETE_USER, FakeCognito, fake_cognito
from tests.factories import Make, User
from tests.page.conftest import Visit, delete_account
from tests.page.managed_login import ManagedLogin, managed_login
from tests.service import serving

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]


@pytest.fixture
def lin(make: Make) -> User:
    """Create a user."""
    return make.user("LinYue", display_name="Lin Yue")


@pytest.fixture
def login(lin: User) -> Iterator[ManagedLogin]:
    """Run Cognito's managed login on this machine, with a session of ten minutes ago."""
    with managed_login() as login:
        login.sub = lin.cognito_user_id
        login.claims = {"auth_time": int(time.time()) - 600}
        yield login


@pytest.fixture
def cognito(lin: User) -> Iterator[FakeCognito]:
    """Run Cognito's API on this machine."""
    with fake_cognito() as cognito:
        cognito.people[lin.cognito_user_id] = {"email": "lin@example.com"}
        yield cognito


@pytest.fixture
def site(service_url: str, pool: dict[str, str], login: ManagedLogin, cognito: FakeCognito) -> Iterator[str]:
    """Run the service with a user pool."""
    settings = pool | {"AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": cognito.url, "AWS_COGNITO_DOMAIN": login.url}
    with serving(service_url, **settings, WEB_CONCURRENCY="1") as port:
        login.redirect_uri = f"http://127.0.0.1:{port}/"
        yield login.redirect_uri


def test_user_signs_in_again_and_deletes(visit: Visit, site: str, login: ManagedLogin, cognito: FakeCognito) -> None:
    page = visit(path="account")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("definition").last).to_be_visible()
    expect(page.get_by_text("lin@example.com")).to_be_visible()
    delete_account(page, "LinYue")
    dialog = page.get_by_role("dialog", name="Sign in")
    expect(dialog).to_contain_text("To delete your account, sign in again.")
    login.claims = {}
    login.requests.clear()
    dialog.get_by_role("button", name="Sign in").click()

    # Without the sign-out the login page would not ask for the password.
    wait_until(lambda: "/oauth2/token" in login.requests)
    expect(page.get_by_text("lin@example.com")).to_be_visible()
    assert [path for path in login.requests if path != "/oauth2/revoke"] == [
        *("/logout", "/oauth2/authorize", "/oauth2/token")
    ]
    expect(page).to_have_url(f"{site}account")
    delete_account(page, "LinYue")
    expect(page.get_by_role("dialog")).to_contain_text("Your account is deleted.")
    assert cognito.asked[DELETE_USER] == 1
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.wait_for_url(site)
    expect(page.get_by_role("button", name="Sign in").first).to_be_visible()
