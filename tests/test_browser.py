"""The feed in a browser, on a page of the frontend's origin."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.browser import CHROMIUM, DUMP_OPTIONS
from harness.stubs import StubResponse, http_stub
from tests.factories import Make
from tests.service import serving

pytestmark = pytest.mark.slow

# The frontend's request: an invalid bearer token, and a content type on a GET.
PAGE = """
<!DOCTYPE html><title>Cruddur</title><body>waiting<script>
const headers = {"Authorization": "Bearer null", "Content-Type": "application/json"}
const show = text => { document.body.textContent = text }
fetch(location.hash.slice(1), {headers})
    .then(answer => answer.json().then(body => show(answer.status + " " + JSON.stringify(body))))
    .catch(failure => show("blocked: " + failure))
</script>
"""


@pytest.fixture
def frontend() -> Iterator[str]:
    """Serve the frontend and yield its origin."""
    page = StubResponse(body=PAGE.encode(), headers={"Content-Type": "text/html"})
    with http_stub(lambda _: page) as url:
        yield url


@pytest.fixture
def browser(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that loads a URL in Chromium and returns the page's body."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")

    def load(url: str) -> str:
        command = [CHROMIUM, *DUMP_OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", url]
        process = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        return process.stdout.split("<body>")[1]

    return load


def test_frontend_page_reads_feed(browser: Callable[[str], str], frontend: str, service_url: str, make: Make) -> None:
    make.activity(make.user("LinYue"), "seen in a browser ☁")

    with serving(service_url, FRONTEND_URL=frontend) as port:
        body = browser(f"{frontend}/#http://127.0.0.1:{port}/api/activities/home")

    assert body.startswith('200 [{"uuid":"')
    assert "seen in a browser ☁" in body


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("activities/@missing", '404 ["not_found"]'),
        ("messages/@bayko", '404 ["not_found"]'),
        ("activities/search", '422 ["search_term_blank"]'),
    ],
)
def test_frontend_page_reads_error_responses(
    browser: Callable[[str], str], frontend: str, service_url: str, path: str, shown: str
) -> None:
    with serving(service_url, FRONTEND_URL=frontend) as port:
        assert browser(f"{frontend}/#http://127.0.0.1:{port}/api/{path}").startswith(shown)


def test_page_of_another_origin_is_blocked(browser: Callable[[str], str], frontend: str, service_url: str) -> None:
    with serving(service_url, FRONTEND_URL="http://localhost:3000") as port:
        body = browser(f"{frontend}/#http://127.0.0.1:{port}/api/activities/home")

    assert body.startswith("blocked: TypeError: Failed to fetch")
