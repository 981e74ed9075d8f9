"""CORS: the origins whose pages may call the API."""

import pytest
from flask.testing import FlaskClient

from app import create_app
from lib.config import Config
from tests.conftest import FRONTEND
from tests.tokens import pool

HOME = "/api/activities/home"
ASKED = "authorization,content-type,cruddur-seen,idempotency-key,if-none-match,traceparent,tracestate"


def client_of(*frontends: str) -> FlaskClient:
    """Return a client of a service without a database, which a preflight never needs."""
    app = create_app(Config(connection_url="postgresql://127.0.0.1:1/none", frontend_urls=frontends, **pool()))
    app.extensions["database_pool"].close()
    return app.test_client()


def preflight(client: FlaskClient, origin: str, path: str = HOME, method: str = "GET") -> dict[str, str]:
    """Return the CORS headers of a preflight's response."""
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": ASKED}
    response = client.options(path, headers=headers)
    assert response.status_code == 200
    assert response.data == b""
    assert response.headers.getlist("Vary") == ["Origin"]
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["Content-Length"] == "0"
    assert "Connection" not in response.headers
    return {name: value for name, value in response.headers if name.startswith("Access-Control-")}


@pytest.mark.parametrize("path", [HOME, "/api/activities/@bayko", "/api/health-check", "/api/messages/@bayko"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
def test_preflight_from_frontend_is_allowed(path: str, method: str) -> None:
    headers = preflight(client_of(FRONTEND), FRONTEND, path, method)

    assert headers["Access-Control-Allow-Origin"] == FRONTEND
    assert set(headers["Access-Control-Allow-Methods"].split(", ")) == {
        *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
    }
    assert set(headers["Access-Control-Allow-Headers"].split(", ")) == set(ASKED.split(","))


@pytest.mark.parametrize(
    "origin",
    [
        *("http://localhost:3001", "https://localhost:3000", "http://localhost:3000.evil.example", "null", "*"),
        *("http://localhost", "http://evil.example/http://localhost:3000", "http://localhost:30000", ""),
    ],
)
def test_preflight_from_another_origin_is_refused(origin: str) -> None:
    client = client_of(FRONTEND)

    assert preflight(client, origin) == {}
    response = client.get("/api/health-check", headers={"Origin": origin})
    assert not [name for name, _ in response.headers if name.startswith("Access-Control-")]
    assert response.headers.getlist("Vary") == ["Origin"]


def test_allowed_origin_is_matched_literally() -> None:
    client = client_of("https://cruddur.example", "http://[::1]:3000")

    assert preflight(client, "https://cruddur.example")["Access-Control-Allow-Origin"] == "https://cruddur.example"
    assert preflight(client, "http://[::1]:3000")["Access-Control-Allow-Origin"] == "http://[::1]:3000"
    assert preflight(client, "https://cruddurxexample") == {}
    assert preflight(client, "http://1:3000") == {}


@pytest.mark.parametrize(("path", "status"), [(HOME, 503), ("/api/health-check", 200), ("/nope", 404)])
def test_frontend_may_read_responses_and_errors(path: str, status: int) -> None:
    response = client_of(FRONTEND).get(path, headers={"Origin": FRONTEND})

    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == FRONTEND
    assert set(response.headers["Access-Control-Expose-Headers"].split(", ")) == {
        *("Link", "ETag", "Retry-After", "Server-Timing", "X-Request-Id", "Idempotency-Replayed", "Cruddur-Seen"),
        *("RateLimit-Policy", "RateLimit"),
    }


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("GET /openapi.json", {"If-None-Match": "*"}, 304),
        ("GET /api/health-check", {"Host": "not a host"}, 400),
        ("GET /api/health-check?x=%00", {}, 400),
        ("GET /api/activities/notifications", {}, 401),
        ("PATCH /api/health-check", {}, 405),
        ("HEAD /api/health-check", {}, 200),
    ],
)
def test_cors_headers_appear_once_on_any_response(request_line: str, headers: dict[str, str], status: int) -> None:
    method, path = request_line.split()
    response = client_of(FRONTEND).open(path, method=method, headers={"Origin": FRONTEND, **headers})

    assert response.status_code == status
    assert response.headers.getlist("Access-Control-Allow-Origin") == [FRONTEND]
    assert response.headers.getlist("Vary").count("Origin") == 1
    assert len(response.headers.getlist("Cache-Control")) == 1


def test_preflight_with_a_body_closes_the_connection() -> None:
    headers = {"Origin": FRONTEND, "Access-Control-Request-Method": "GET"}

    assert client_of(FRONTEND).options(HOME, headers=headers, data=b"x").headers["Connection"] == "close"


def test_options_without_a_preflight_lists_the_methods() -> None:
    response = client_of(FRONTEND).options(HOME)

    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
