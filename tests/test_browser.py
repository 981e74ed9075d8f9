"""The feed in a browser, on a page of the frontend's origin."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.listening import listening
from tests.make import Make
from tests.test_serve import serving

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = [
    # Chromium's sandbox needs an ordinary user outside of a container.
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    # No background traffic of the browser's own.
    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    # No name resolves but the loopback address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    *("--virtual-time-budget=10000", "--dump-dom"),
]
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


class Handler(BaseHTTPRequestHandler):
    """The frontend, which serves one page."""

    def do_GET(self) -> None:
        """Send the page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def frontend() -> Iterator[str]:
    """Serve the frontend and yield its origin."""
    with listening(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def browser(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that loads a URL in Chromium and returns the page's body."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")

    def load(url: str) -> str:
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", url]
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
        ("activities/@nobody", '404 ["not_found"]'),
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
