"""The account: its user reads it, takes a copy, and leaves."""

import json
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.factories import Make, User
from tests.page.conftest import Visit, delete_account, session, token

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bystander")]


@pytest.fixture
def lin(make: Make) -> User:
    """Create a user with an activity."""
    user = make.user("LinYue", display_name="Lin Yue")
    make.activity(user, "soon gone")
    return user


def test_account_is_a_link_of_the_own_profile(visit: Visit, lin: User, make: Make) -> None:
    other = make.user("other")
    page = visit(lin, path="@linyue")
    page.get_by_role("link", name="Account").click()

    expect(page.get_by_role("heading", name="Account", exact=True)).to_be_visible()
    expect(page.get_by_role("definition")).to_contain_text(["Lin Yue", "@LinYue", "none known"])
    page.get_by_role("definition").get_by_role("link").click()
    expect(page.get_by_role("article")).to_contain_text("soon gone")
    page.goto(f"@{other.handle}")
    expect(page.get_by_role("button", name="Follow", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Account")).to_have_count(0)


def test_anonymous_client_is_asked_to_sign_in(visit: Visit) -> None:
    expect(visit(path="account").get_by_role("heading", name="Sign in to see this page.")).to_be_visible()


def test_user_downloads_own_data_once_an_hour(visit: Visit, lin: User, tmp_path: Path) -> None:
    page = visit(lin, path="account")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "export.json")

    assert download.value.suggested_filename == "cruddur-LinYue.json"
    export = json.loads((tmp_path / "export.json").read_text())
    assert [row["message"] for row in export["activities"]] == ["soon gone"]
    page.get_by_role("button", name="Download").click()
    expect(page.get_by_role("alert")).to_have_text("Too many requests. Please wait 60 minutes.")


def test_user_deletes_account_after_typing_the_handle(visit: Visit, lin: User, make: Make) -> None:
    page, reader = visit(lin, path="account"), visit(make.user("reader"))
    expect(reader.get_by_text("soon gone")).to_be_visible()
    page.get_by_role("button", name="Delete account").click()
    dialog = page.get_by_role("dialog", name="Delete account")
    dialog.get_by_role("textbox").fill("other")
    dialog.get_by_role("button", name="Delete for ever").click()
    expect(dialog.get_by_role("alert")).to_have_text("This is not your handle. Type it as your profile shows it.")
    dialog.get_by_role("textbox").fill("@linyue")
    dialog.get_by_role("button", name="Delete for ever").click()

    expect(page.get_by_role("dialog")).to_contain_text("Your account is deleted.")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.get_by_role("button", name="Sign in").first).to_be_visible()
    assert session(page) == {}
    reader.goto("@linyue")
    expect(reader.get_by_role("heading", name="This profile does not exist")).to_be_visible()
    reader.goto("./")
    expect(reader.get_by_text("a bystander's", exact=True)).to_be_visible()
    expect(reader.get_by_text("soon gone")).to_have_count(0)


def test_escape_keeps_the_account(visit: Visit, lin: User) -> None:
    page = visit(lin, path="account")
    page.get_by_role("button", name="Delete account").click()
    page.keyboard.press("Escape")

    page.goto("@linyue")
    expect(page.get_by_text("soon gone")).to_be_visible()


def test_old_development_token_does_not_delete(visit: Visit, site: str, lin: User) -> None:
    page = visit()
    page.goto(f"{site}account#token={token(lin, auth_time=int(time.time()) - 301)}")
    page.reload()
    delete_account(page, "LinYue")

    expect(page.get_by_role("dialog", name="Sign in")).to_contain_text("bin/dev-token prints a new token")
    page.keyboard.press("Escape")
    # The sign-in goes on.
    expect(page.get_by_role("banner")).to_contain_text("Lin Yue")
