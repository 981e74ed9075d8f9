"""The page while the database, the service or the network is away."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from harness.ports import free_port
from harness.proxy import proxy
from routes.pages import WEB
from tests.factories import Make
from tests.page.conftest import SETTINGS, Visit, card, go, poll_now
from tests.processes import running
from tests.service import RIGHT, get

pytestmark = pytest.mark.slow

UNAVAILABLE = re.compile(r"Cruddur is not available\. Next attempt in \d+ seconds?\.")
OFFLINE = "You are offline. Cruddur continues when you are back."


@pytest.fixture
def site(service_url: str, jwks_url: str, settings: dict[str, str]) -> Iterator[str]:
    """Run the service, whose log has each failure of the database."""
    port = free_port()
    pool = {**SETTINGS, "AWS_COGNITO_JWKS_URL": jwks_url}
    with running("serve", **{**RIGHT, **pool, "CONNECTION_URL": service_url, "PORT": port, **settings}):
        get(port, "/livez")
        yield f"http://127.0.0.1:{port}/"


def expect_banner(page: Page, text: str | re.Pattern[str]) -> None:
    """Expect the banner to say `text`."""
    expect(page.get_by_role("status").filter(has_text=text)).to_be_visible()


def test_page_waits_for_the_database(visit: Visit, make: Make) -> None:
    make.activity(make.user(), "patience pays")
    with make.owner.transaction():
        make.owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        page = visit()
        expect_banner(page, UNAVAILABLE)
        expect(page.get_by_role("article")).to_have_count(0)

    expect(card(page, "patience pays")).to_be_visible()
    expect(page.get_by_role("status")).to_be_hidden()


def test_message_is_kept_while_the_database_is_away(visit: Visit, make: Make) -> None:
    author = make.user()
    page = visit(author)
    page.get_by_role("textbox", name="New crud").fill("patience pays")
    send = page.get_by_role("button", name="Post", exact=True)
    with make.owner.transaction():
        make.owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        send.click()
        expect(page.get_by_role("alert")).to_contain_text("Your text is kept")
        expect(page.get_by_role("textbox", name="New crud")).to_have_value("patience pays")
    send.click()

    expect(card(page, "patience pays")).to_be_visible()
    assert make.messages() == ["patience pays"]


def test_status_page_of_a_missing_database_waits_too(visit: Visit, make: Make) -> None:
    activity = make.activity(make.user("author"), "patience pays")
    with make.owner.transaction():
        make.owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        page = visit(path=f"@author/status/{activity.uuid}")
        expect_banner(page, UNAVAILABLE)

    expect(card(page, "patience pays")).to_be_visible()


def test_page_waits_for_the_service(visit: Visit, make: Make, site: str) -> None:
    author = make.user()
    make.activity(author, "before")
    with proxy(site.rpartition(":")[2].rstrip("/")) as network:
        page = visit(url=f"http://127.0.0.1:{network.port}/")
        expect(card(page, "before")).to_be_visible()
        network.reset()
        page.get_by_role("link", name="Test User").first.click()
        expect_banner(page, UNAVAILABLE)
        network.recover()
        expect(page.get_by_role("heading", name="Test User")).to_be_visible()
        expect(page.get_by_role("status")).to_be_hidden()


def test_offline_page_says_so_and_continues(visit: Visit, make: Make) -> None:
    author = make.user()
    make.activity(author, "before", age="1 minute")
    page = visit()
    expect(card(page, "before")).to_be_visible()
    page.context.set_offline(True)
    expect_banner(page, OFFLINE)
    make.activity(author, "meanwhile")
    poll_now(page)
    page.context.set_offline(False)

    expect(page.get_by_role("button", name="1 new")).to_be_visible()
    expect(page.get_by_role("status")).to_be_hidden()


@pytest.mark.parametrize("settings", [{"RATE_LIMIT_ANONYMOUS_READS": "3"}])
def test_page_says_how_long_to_wait(visit: Visit, make: Make) -> None:
    make.activity(make.user("author"), "the only one")
    page = visit()
    expect(card(page, "the only one")).to_be_visible()
    page.get_by_role("link", name="Test User").first.click()
    expect(page.get_by_role("heading", name="Test User")).to_be_visible()
    go(page, "Home")

    expect_banner(page, re.compile(r"Too many requests\. Please wait \d+ seconds?\."))


@pytest.mark.parametrize("path", ["@author", "messages", "@author/status/{uuid}"])
def test_lost_script_is_loaded_again(visit: Visit, make: Make, path: str) -> None:
    activity = make.activity(make.user("author"), "patience pays")
    page = visit(make.user())
    expect(card(page, "patience pays")).to_be_visible()
    lost: set[str] = set()

    def lose_once(route: Route) -> None:
        name = route.request.url
        if name in lost:
            route.continue_()
        else:
            lost.add(name)
            route.abort()

    page.context.route(re.compile(r"/(profile|users|messages|thread|compose)\.js"), lose_once)
    page.goto(path.format(uuid=activity.uuid))

    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert lost
    expect(page.get_by_role("status")).to_be_hidden()


def test_scripts_loaded_later_import_only_loaded_ones() -> None:
    imports = {path.stem: set(re.findall(r'from "\./(\w+)\.js"', path.read_text())) for path in WEB.glob("*.js")}
    first = {"app", *re.findall(r'"\./(\w+)\.js"', (WEB / "app.js").read_text())}

    assert {name: names - first for name, names in imports.items() if names - first} == {}


def test_banner_ends_with_a_refusal(visit: Visit, make: Make) -> None:
    with make.owner.transaction():
        make.owner.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        page = visit(path="@missing")
        expect_banner(page, UNAVAILABLE)

    expect(page.get_by_role("heading", name="This profile does not exist")).to_be_visible()
    expect(page.get_by_role("status")).to_be_hidden()


def test_failed_like_announces_no_further_attempt(visit: Visit, make: Make) -> None:
    make.activity(make.user(), "worth a like")
    page = visit(make.user())
    like = card(page, "worth a like").get_by_role("button", name="Like")
    for fail, text in [
        (lambda route: route.abort(), "Cruddur does not respond. Please try again."),
        (lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"), "Something went wrong."),
    ]:
        page.route("**/like", fail)
        like.click()
        expect(page.get_by_role("alert").filter(has_text=text)).to_be_visible()
        page.get_by_role("button", name="Close").click()
        expect(like).to_be_focused()
        page.unroute_all()


def test_return_to_a_page_waits_as_long_as_the_server_says(visit: Visit, make: Make) -> None:
    make.activity(make.user(), "patience pays")
    page = visit()
    expect(card(page, "patience pays")).to_be_visible()
    requests: list[str] = []

    def refuse(route: Route) -> None:
        requests.append(route.request.url)
        route.fulfill(status=429, headers={"Retry-After": "60"}, json=["too_many_requests"])

    page.route("**/api/activities/home", refuse)
    with page.expect_response("**/api/activities/home"):
        poll_now(page)
    for _ in range(3):
        with page.expect_response("**/livez"):
            page.evaluate("fetch('livez')")
        poll_now(page)

    assert len(requests) == 1
