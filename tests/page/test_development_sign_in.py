"""Signing in by a link of bin/dev, while the development key pair is in force."""

import pytest
from playwright.sync_api import expect

from tests import tokens
from tests.factories import Make
from tests.page.conftest import Visit, card, session, token

pytestmark = pytest.mark.slow


def test_link_signs_in(visit: Visit, make: Make, site: str) -> None:
    user = make.user("LinYue", display_name="Lin Yue")
    make.activity(make.user(), "for everyone")
    page = visit(user)

    expect(page.get_by_role("banner")).to_contain_text("Lin Yue")
    expect(card(page, "for everyone")).to_be_visible()
    assert page.url == site
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("dialog")).to_contain_text("bin/dev prints a link")


def test_forged_token_signs_nobody_in(visit: Visit, make: Make) -> None:
    user = make.user("LinYue", display_name="Lin Yue")
    forged = tokens.token(user.cognito_user_id, key=tokens.new_key("forged"))
    page = visit(path=f"#token={forged}")

    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    expect(page.get_by_role("banner")).not_to_contain_text("Lin Yue")
    assert session(page) == {}


def test_second_link_changes_the_user(visit: Visit, make: Make) -> None:
    page = visit(make.user(display_name="User One"))
    expect(page.get_by_role("banner")).to_contain_text("User One")
    page.goto("livez")
    page.goto(f"#token={token(make.user(display_name='User Two'))}")

    expect(page.get_by_role("banner")).to_contain_text("User Two")


def test_link_signs_in_within_an_open_tab(visit: Visit, make: Make) -> None:
    page = visit()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(f"#token={token(make.user(display_name='Lin Yue'))}")

    expect(page.get_by_role("banner")).to_contain_text("Lin Yue")
    assert "token" not in page.url


def test_no_part_of_the_page_keeps_the_link(visit: Visit, make: Make) -> None:
    page = visit(make.user(display_name="Lin Yue"))
    expect(page.get_by_role("banner")).to_contain_text("Lin Yue")

    assert "token=" not in page.content()
