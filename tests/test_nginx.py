"""nginx in front of the service, by the configuration that docker-compose.yml gives it."""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPSConnection
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
    """Where nginx is, in front of the service."""
    with serving(service_url, AWS_COGNITO_JWKS_URL=jwks_url, **BEHIND) as port, nginx(f"127.0.0.1:{port}") as front:
        yield front.url


@pytest.fixture
def prefixed(service_url: str, jwks_url: str) -> Iterator[str]:
    """Where nginx is that has the service below `PREFIX`."""
    with (
        serving(service_url, AWS_COGNITO_JWKS_URL=jwks_url, **BEHIND) as port,
        nginx(f"127.0.0.1:{port}", changed=PREFIXED) as front,
    ):
        yield front.url


class Answer(NamedTuple):
    """What a client gets."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """Send a request, by its path as it is."""
    connection = HTTPConnection(str(urlsplit(url).hostname), urlsplit(url).port, timeout=30)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    connection.close()
    return answer


def test_slow_bodies_cost_the_service_nothing(url: str, make: Make) -> None:
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
def test_a_body_may_be_as_long_as_the_service_takes_it(url: str, make: Make, size: int, status: int) -> None:
    body = json.dumps({"message": "hello", "ttl": "1-day"}).encode()
    token = tokens.bearer(make.user().cognito_user_id)["Authorization"]

    answer = ask(
        url, "POST", ACTIVITIES, body.ljust(size), Authorization=token, Content_Type="application/json", Origin=FRONTEND
    )

    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == FRONTEND
    assert status == 200 or json.loads(answer.body) == ["payload_too_large"]
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
def test_a_path_goes_on_as_it_came(url: str, path: str, status: int, is_ours: bool) -> None:  # noqa: FBT001 - a case
    answer = ask(url, "GET", path)

    assert (answer.status, "x-request-id" in answer.headers) == (status, is_ours)
    assert status == 200 or json.loads(answer.body) == ["not_found"]


def test_a_client_does_not_say_when_its_request_began(url: str) -> None:
    assert ask(url, "GET", HOME, X_Request_Start="t=1.000").status == 200


def test_the_service_names_itself(url: str) -> None:
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
def test_what_nginx_refuses_has_the_form_of_the_contract(url: str, head: str, status: int) -> None:
    answer = exchange(url, head.encode(), 2)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert status == 200 or isinstance(json.loads(answer.rpartition(b"\r\n\r\n")[2]), list)


def pages(url: str, path: str, relation: str, token: str) -> Iterator[tuple[str, bytes]]:
    """The page at `path` and all to which its links lead by `relation`: the path of each, and its body."""
    while path:
        answer = ask(url, "GET", path, Authorization=token)
        assert answer.status == 200
        yield path, answer.body
        found = re.findall(r'<([^>]*)>; rel="(\w+)"', answer.headers.get("link", ""))
        path = next((urljoin(path, target) for target, rel in found if rel == relation), "")


def test_every_lists_links_lead_on_and_back_below_a_prefix(prefixed: str, make: Make) -> None:
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
        there = list(pages(prefixed, first, "next", token))
        back = list(pages(prefixed, there[-1][0], "prev", token))

        assert len({body for _, body in there}) == 3, path
        assert [body for _, body in back] == [body for _, body in reversed(there)], path


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_what_a_page_links_to_is_there_below_a_prefix(prefixed: str, page: str) -> None:
    path = f"{PREFIX}{page}"
    targets = re.findall(r'(?:href|src)="([^"]+)"', ask(prefixed, "GET", path).body.decode())

    assert len(targets) == 4
    assert [ask(prefixed, "GET", urljoin(path, target)).status for target in targets] == [200] * 4


def test_a_redirect_stays_below_a_prefix(prefixed: str) -> None:
    answer = ask(prefixed, "GET", f"{PREFIX}/docs/")

    assert (answer.status, urljoin(f"{PREFIX}/docs/", answer.headers["location"])) == (308, f"{PREFIX}/docs")


def echoed(request: StubRequest) -> StubResponse:
    """Respond with the request's headers, as JSON."""
    return StubResponse(body=json.dumps({name.lower(): value for name, value in request.headers.items()}).encode())


@pytest.fixture
def echo() -> Iterator[ExitStack]:
    """A backend that tells what comes to it, until the stack is closed."""
    with ExitStack() as stack:
        yield stack


def test_of_the_client_the_service_hears_what_nginx_knows(echo: ExitStack) -> None:
    backend = urlsplit(echo.enter_context(http_stub(echoed))).netloc
    with nginx(backend) as front:
        answer = ask(
            front.url, "GET", HOME, X_Forwarded_For="1.2.3.4", Forwarded="for=1.2.3.4", X_Request_Start="t=1.000"
        )
    headers = json.loads(answer.body)

    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert "forwarded" not in headers
    assert queue_seconds(headers["x-request-start"]) < SECONDS


@pytest.mark.parametrize(
    ("origin", "allowed"), [(FRONTEND, FRONTEND), ("https://b", "https://b"), ("https://evil", None), ("http://", None)]
)
def test_while_the_service_is_away_the_frontend_is_told(echo: ExitStack, origin: str, allowed: str | None) -> None:
    backend = urlsplit(echo.enter_context(http_stub(echoed))).netloc
    with nginx(backend, frontend=f"https://b,{FRONTEND}") as front:
        echo.close()
        answer = ask(front.url, "GET", HOME, Origin=origin)

    assert (answer.status, json.loads(answer.body)) == (503, ["service_unavailable"])
    assert answer.headers["retry-after"] == "2"
    assert answer.headers.get("access-control-allow-origin") == allowed
    assert answer.headers["vary"] == "Origin"


def test_browsers_are_told_to_stay_with_tls_where_there_is_tls(echo: ExitStack, tmp_path: Path) -> None:
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
