"""Search by words, and hashtags."""

import re

import pytest
from playwright.sync_api import expect

from tests.factories import Make
from tests.page.conftest import Visit, go

pytestmark = pytest.mark.slow


def test_client_searches(visit: Visit, make: Make) -> None:
    author = make.user()
    make.activity(author, "Clouds over Lisbon")
    make.activity(author, "Sun over Porto")
    page = visit()
    go(page, "Search")
    page.get_by_role("searchbox", name="Search cruds").fill("lisbon clouds")
    page.keyboard.press("Enter")

    expect(page.get_by_role("article")).to_have_text(re.compile("Clouds over Lisbon"))
    expect(page.get_by_role("searchbox")).to_have_value("lisbon clouds")
    page.get_by_role("searchbox").fill("Madrid")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("No live crud has these words.")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("article")).to_have_text(re.compile("Clouds over Lisbon"))


def test_refused_search_is_explained(visit: Visit) -> None:
    page = visit(path=f"search?term={'a' * 101}")

    expect(page.get_by_role("heading", name="A search has at most 100 characters.")).to_be_visible()


def test_hashtag_leads_to_its_activities(visit: Visit, make: Make) -> None:
    author = make.user()
    make.tag(make.activity(author, "#हिन्दी is a language"), "हिन्दी")
    make.activity(author, "something else")
    page = visit()
    page.get_by_role("link", name="#हिन्दी").click()

    expect(page.get_by_role("heading", name="#हिन्दी")).to_be_visible()
    expect(page.get_by_role("article")).to_have_count(1)
    page.reload()
    expect(page.get_by_role("article")).to_have_count(1)


def test_unknown_hashtag_says_so(visit: Visit) -> None:
    expect(visit(path="tags/nothing").get_by_text("No live crud has this hashtag.")).to_be_visible()
