"""The feed in a browser, on a page of the frontend's origin."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from harness.listening import listening
from tests.factories import Make
from tests.test_serve import serving

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = [
    # As root and in a container there is no sandbox to be had.
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    # It calls nobody by itself.
    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    # And finds nobody beyond this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    *("--virtual-time-budget=10000", "--dump-dom"),
]
# What the frontend does: credentials that are none, and a content type on a GET.
PAGE = """
<!DOCTYPE html><title>Cruddur</title><body>waiting<script>
const headers = {"Authorization": "Bearer null", "Content-Type": "application/json"}
const show = text => { document.body.textContent = text }
fetch(location.hash.slice(1), {headers})
    .then(answer => answer.json().then(body => show(answer.status + " " + JSON.stringify(body))))
    .catch(failure => show("blocked: " + failure))
</script>
"""


class Handler(BaseHTTPRequestHandler):
    """The frontend: one page."""

    def do_GET(self) -> None:
        """Answer with the page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def frontend() -> Iterator[str]:
    """The frontend's origin."""
    with listening(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def browser(tmp_path: Path) -> Callable[[str], str]:
    """What a browser shows of a page, once it has loaded."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")

    def shows(url: str) -> str:
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", url]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.split("<body>")[1]

    return shows


def test_a_page_of_the_frontend_reads_the_feed(
    browser: Callable[[str], str], frontend: str, service_url: str, make: Make
) -> None:
    make.activity(make.user("LinYue"), "seen in a browser ☁")

    with serving(service_url, FRONTEND_URL=frontend) as port:
        body = browser(f"{frontend}/#http://127.0.0.1:{port}/api/activities/home")

    assert body.startswith('200 [{"uuid":"')
    assert "seen in a browser ☁" in body


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("activities/@nobody", '404 ["not_found"]'),
        ("messages/@bayko", '404 ["not_found"]'),
        ("activities/search", '422 ["search_term_blank"]'),
    ],
)
def test_a_page_of_the_frontend_reads_failures(
    browser: Callable[[str], str], frontend: str, service_url: str, path: str, shown: str
) -> None:
    with serving(service_url, FRONTEND_URL=frontend) as port:
        assert browser(f"{frontend}/#http://127.0.0.1:{port}/api/{path}").startswith(shown)


def test_a_page_of_another_origin_reads_nothing(browser: Callable[[str], str], frontend: str, service_url: str) -> None:
    with serving(service_url, FRONTEND_URL="http://localhost:3000") as port:
        body = browser(f"{frontend}/#http://127.0.0.1:{port}/api/activities/home")

    assert body.startswith("blocked: TypeError: Failed to fetch")
