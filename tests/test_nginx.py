"""nginx in front of the service, configured as in docker-compose.yml."""

import gzip
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPSConnection
from itertools import product
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import pytest

from harness.certificates import signed
from harness.load import Client
from harness.nginx import BEHIND, PROGRAM, nginx
from harness.ports import free_port
from harness.raw_clients import exchange, slow_senders
from harness.stubs import StubRequest, StubResponse, http_stub
from harness.waiting import SECONDS
from lib.body import MAX_BYTES
from lib.load_shedding import queue_seconds
from routes.pages import assets
from tests import tokens
from tests.conftest import FRONTEND
from tests.factories import Make
from tests.nginx_prefix import PREFIX, PREFIXED
from tests.service import serving

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="nginx is not installed")]

HOME = "/api/activities/home"
ACTIVITIES = "/api/activities"


@pytest.fixture
def url(service_url: str, jwks_url: str) -> Iterator[str]:
    """Run nginx in front of the service, and yield its URL."""
    with serving(service_url, AWS_COGNITO_JWKS_URL=jwks_url, **BEHIND) as port, nginx(f"127.0.0.1:{port}") as front:
        yield front.url


@pytest.fixture
def prefixed(service_url: str, jwks_url: str) -> Iterator[str]:
    """Run nginx with the service below `PREFIX`, and yield its URL."""
    with (
        serving(service_url, AWS_COGNITO_JWKS_URL=jwks_url, **BEHIND) as port,
        nginx(f"127.0.0.1:{port}", changed=PREFIXED) as front,
    ):
        yield front.url


class Answer(NamedTuple):
    """A response as the client gets it."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """Send a request with the unchanged path."""
    connection = HTTPConnection(str(urlsplit(url).hostname), urlsplit(url).port, timeout=30)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    fields = {name.lower(): ", ".join(response.headers.get_all(name, [])) for name in response.headers}
    answer = Answer(response.status, fields, response.read())
    connection.close()
    return answer


def test_slow_bodies_do_not_slow_the_service(url: str, make: Make) -> None:
    lin = make.user()
    token = tokens.token(lin.cognito_user_id)
    client = Client(url)

    with slow_senders(url, token):
        for number in range(10):
            body = {"message": f"{number}", "ttl": "1-day"}
            assert client.post(ACTIVITIES, token, body).status == 200
            assert client.get(HOME).status == 200
            assert client.get("/readyz").status == 200
    client.close()
    assert len(make.messages()) == 10


@pytest.mark.parametrize(("size", "status"), [(MAX_BYTES, 200), (MAX_BYTES + 1, 413)])
def test_body_limit_equals_the_services(url: str, make: Make, size: int, status: int) -> None:
    body = json.dumps({"message": "hello", "ttl": "1-day"}).encode()
    token = tokens.bearer(make.user().cognito_user_id)["Authorization"]

    response = ask(
        url, "POST", ACTIVITIES, body.ljust(size), Authorization=token, Content_Type="application/json", Origin=FRONTEND
    )

    assert response.status == status
    assert response.headers["access-control-allow-origin"] == FRONTEND
    assert status == 200 or json.loads(response.body) == ["payload_too_large"]
    assert make.messages() == ["hello"] * (status == 200)


@pytest.mark.parametrize(
    ("path", "status", "is_ours"),
    [
        (HOME, 200, True),
        (f"{HOME}?x=%2F", 200, True),
        ("//api/activities/home", 404, True),
        ("/api%2Factivities/home", 404, False),
        ("/api/activities%2fhome?x=y", 404, False),
    ],
)
def test_path_is_forwarded_unchanged(url: str, path: str, status: int, is_ours: bool) -> None:  # noqa: FBT001 - a case
    response = ask(url, "GET", path)

    assert (response.status, "x-request-id" in response.headers) == (status, is_ours)
    assert status == 200 or json.loads(response.body) == ["not_found"]


def test_clients_request_start_header_is_replaced(url: str) -> None:
    assert ask(url, "GET", HOME, X_Request_Start="t=1.000").status == 200


def test_server_header_is_the_services(url: str) -> None:
    assert ask(url, "GET", HOME).headers["server"] == "cruddur"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /livez HTTP/1.1\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("get /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("TRACE /livez HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (f"GET /{'x' * 9_000} HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (f"GET /livez HTTP/1.1\r\nHost: a\r\nX: {'x' * 9_000}\r\n\r\n", 431),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
    ],
)
def test_request_refused_by_nginx_has_the_api_error_format(url: str, head: str, status: int) -> None:
    response = exchange(url, head.encode(), 2)

    assert response.startswith(f"HTTP/1.1 {status} ".encode())
    assert status == 200 or isinstance(json.loads(response.rpartition(b"\r\n\r\n")[2]), list)


def pages(url: str, path: str, relation: str, token: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and body of the page at `path` and of all pages linked by `relation`."""
    while path:
        response = ask(url, "GET", path, Authorization=token)
        assert response.status == 200
        yield path, response.body
        links = re.findall(r'<([^>]*)>; rel="(\w+)"', response.headers.get("link", ""))
        path = next((urljoin(path, target) for target, rel in links if rel == relation), "")


def test_pagination_links_work_below_a_prefix(prefixed: str, make: Make) -> None:
    me, other = make.user("me"), make.user("other")
    mine = make.activity(me, "hello", age="9 minutes")
    for n in range(2):
        make.activity(me, "hello", age=f"{n} minutes")
    for n in range(3):
        make.activity(other, "a reply", age=f"{n} minutes", reply_to=mine)
    group = make.conversation(me, other, "one", "two", "three")
    token = tokens.bearer(me.cognito_user_id)["Authorization"]

    for path in (
        *(HOME, f"{ACTIVITIES}/search?term=hello", f"{ACTIVITIES}/@me", f"{ACTIVITIES}/@me/status/{mine.uuid}"),
        *(f"{ACTIVITIES}/notifications", f"/api/messages/{group}"),
    ):
        first = f"{PREFIX}{path}{'&' if '?' in path else '?'}limit=1"
        forwards = list(pages(prefixed, first, "next", token))
        backwards = list(pages(prefixed, forwards[-1][0], "prev", token))

        assert len({body for _, body in forwards}) == 3, path
        assert [body for _, body in backwards] == [body for _, body in reversed(forwards)], path


@pytest.mark.parametrize("page", ["/", "/tags/coffee", "/docs"])
def test_links_of_a_page_work_below_a_prefix(prefixed: str, page: str) -> None:
    path = f"{PREFIX}{page}"
    html = ask(prefixed, "GET", path).body.decode()
    base = urljoin(path, *re.findall(r'<base href="([^"]+)"', html) or [""])
    targets = re.findall(r'<(?:a|link|script)[^>]* (?:href|src)="([^"]+)"', html)

    assert len(targets) >= 3
    assert [ask(prefixed, "GET", urljoin(base, target)).status for target in targets] == [200] * len(targets)


def test_redirect_stays_below_a_prefix(prefixed: str) -> None:
    response = ask(prefixed, "GET", f"{PREFIX}/docs/")

    assert (response.status, urljoin(f"{PREFIX}/docs/", response.headers["location"])) == (308, f"{PREFIX}/docs")


@pytest.fixture
def compressible() -> list[tuple[str, str]]:
    """Return paths of the page and of files, each with its `Cache-Control`."""
    immutable = "public, max-age=31536000, immutable"
    files = [(f"/web/{assets().digest}/{name}", immutable) for name in ("style.css", "icon.svg")]
    return [
        ("/", "no-cache"),
        ("/search", "no-cache"),
        *files,
        ("/web/0/style.css", "no-cache"),
        ("/docs/start.js", "no-cache"),
    ]


def test_page_and_files_are_compressed(url: str, compressible: list[tuple[str, str]]) -> None:
    for path, cache_control in compressible:
        plain = ask(url, "GET", path)
        # `Via` is the header of a further proxy in front.
        packed = ask(url, "GET", path, Accept_Encoding="gzip, br", Via="1.1 cdn")

        assert (packed.status, packed.headers["content-encoding"]) == (200, "gzip"), path
        assert gzip.decompress(packed.body) == plain.body, path
        assert packed.headers["cache-control"] == cache_control, path
        assert "content-encoding" not in plain.headers, path
        assert "Accept-Encoding" in plain.headers["vary"], path
        assert "Accept-Encoding" in packed.headers["vary"], path


def test_compressed_page_and_files_are_revalidated(url: str, compressible: list[tuple[str, str]]) -> None:
    for path, cache_control in compressible:
        # nginx makes the tag of a compressed response weak. Both tags stand for the same file.
        tags = [ask(url, "GET", path, Accept_Encoding=coding).headers["etag"] for coding in ("gzip", "identity")]
        assert tags[0] == f"W/{tags[1]}", path
        for tag in tags:
            again = ask(url, "GET", path, Accept_Encoding="gzip", If_None_Match=tag)

            assert (again.status, again.body, again.headers["cache-control"]) == (304, b"", cache_control), path


def test_anonymous_json_is_compressed_and_revalidated(url: str, make: Make) -> None:
    lin = make.user("lin")
    for _ in range(8):
        make.activity(lin, "hello " * 40)

    for path, authorization in product((HOME, "/api/activities/@lin"), ("", "Bearer null")):
        plain = ask(url, "GET", path, Authorization=authorization)
        packed = ask(url, "GET", path, Authorization=authorization, Accept_Encoding="gzip")
        again = ask(url, "GET", path, Accept_Encoding="gzip", If_None_Match=packed.headers["etag"])

        assert (packed.status, packed.headers["content-encoding"]) == (200, "gzip"), path
        assert gzip.decompress(packed.body) == plain.body, path
        assert len(packed.body) < len(plain.body) / 4, path
        assert packed.headers["etag"] == f"W/{plain.headers['etag']}", path
        assert packed.headers["cache-control"] == "no-cache", path
        assert "Accept-Encoding" in plain.headers["vary"], path
        assert (again.status, again.body) == (304, b""), path


def test_json_of_a_user_and_short_json_are_not_compressed(url: str, make: Make) -> None:
    lin = make.user("lin")
    for _ in range(8):
        make.activity(lin, "hello " * 40)
    token = tokens.bearer(lin.cognito_user_id)["Authorization"]

    for path, authorization in ((HOME, token), (HOME, "Bearer x"), ("/nope", "")):
        response = ask(url, "GET", path, Authorization=authorization, Accept_Encoding="gzip")

        assert "content-encoding" not in response.headers, (path, authorization)
        assert isinstance(json.loads(response.body), list), (path, authorization)


def test_failure_of_the_service_keeps_the_page(url: str) -> None:
    response = ask(url, "GET", "/@missing/status/5eed0000-0000-4000-a000-000000000001")

    assert (response.status, response.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert response.headers["cache-control"] == "private, no-store"


def echoed(request: StubRequest) -> StubResponse:
    """Respond with the request's headers, as JSON."""
    return StubResponse(body=json.dumps({name.lower(): value for name, value in request.headers.items()}).encode())


@pytest.fixture
def echo() -> Iterator[ExitStack]:
    """Provide the stack that ends the echo backend when it closes."""
    with ExitStack() as stack:
        yield stack


def test_forwarded_headers_are_nginxs_own(echo: ExitStack) -> None:
    backend = urlsplit(echo.enter_context(http_stub(echoed))).netloc
    with nginx(backend) as front:
        response = ask(
            front.url, "GET", HOME, X_Forwarded_For="1.2.3.4", Forwarded="for=1.2.3.4", X_Request_Start="t=1.000"
        )
    headers = json.loads(response.body)

    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert "forwarded" not in headers
    assert queue_seconds(headers["x-request-start"]) < SECONDS


@pytest.mark.parametrize(
    ("origin", "allowed"), [(FRONTEND, FRONTEND), ("https://b", "https://b"), ("https://evil", None), ("http://", None)]
)
def test_unavailable_service_gives_a_503_readable_by_the_frontend(
    echo: ExitStack, origin: str, allowed: str | None
) -> None:
    backend = urlsplit(echo.enter_context(http_stub(echoed))).netloc
    with nginx(backend, frontend=f"https://b,{FRONTEND}") as front:
        echo.close()
        response = ask(front.url, "GET", HOME, Origin=origin)

    assert (response.status, json.loads(response.body)) == (503, ["service_unavailable"])
    assert response.headers["retry-after"] == "2"
    assert response.headers.get("access-control-allow-origin") == allowed
    assert response.headers["vary"] == "Origin"


def test_hsts_header_is_sent_over_tls_only(echo: ExitStack, tmp_path: Path) -> None:
    certificate, port = signed("localhost"), free_port()
    (tmp_path / "pem").write_bytes(certificate.pem() + certificate.key_pem())
    pem = tmp_path / "pem"
    tls = f"listen 127.0.0.1:{port} ssl; ssl_certificate '{pem}'; ssl_certificate_key '{pem}';"
    backend = urlsplit(echo.enter_context(http_stub(echoed))).netloc

    with nginx(backend, tls=tls) as front:
        plain = ask(front.url, "GET", HOME)
        context = ssl.create_default_context(cadata=certificate.pem().decode())
        connection = HTTPSConnection("localhost", int(port), context=context)
        connection.request("GET", HOME)
        secure = connection.getresponse()
        connection.close()

    assert "strict-transport-security" not in plain.headers
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"
