"""Security headers: on every response, of any part of the service."""

import pytest
from flask.testing import FlaskClient
from psycopg import Connection

from tests.conftest import FRONTEND

HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Server": "cruddur"}


RESPONSES = [
    ("GET /api/activities/home", {}, 200),
    ("HEAD /api/activities/home", {}, 200),
    ("GET /openapi.json", {"If-None-Match": "*"}, 304),
    ("GET /", {}, 200),
    ("GET /search", {}, 200),
    ("GET /web/0/app.js", {}, 200),
    ("GET /@missing/status/5eed0000-0000-4000-a000-000000000001", {}, 404),
    ("GET /docs", {}, 200),
    ("GET /docs/", {}, 308),
    ("GET /livez", {}, 200),
    ("OPTIONS /api/activities", {"Origin": FRONTEND, "Access-Control-Request-Method": "POST"}, 200),
    ("GET /api/activities/home?limit=0", {}, 400),
    ("GET /livez", {"Host": "not a host"}, 400),
    ("POST /api/activities", {}, 401),
    ("GET /nope", {}, 404),
    ("PATCH /livez", {}, 405),
]


def test_response_has_each_security_header_once(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for request_line, headers, status in RESPONSES:
        with subtests.test(request_line):
            method, path = request_line.split()
            response = client.open(path, method=method, headers=headers)

            assert response.status_code == status
            assert {name: response.headers.getlist(name) for name in HEADERS} == {
                name: [HEADERS[name]] for name in HEADERS
            }


def test_internal_error_has_security_headers_too(client: FlaskClient, owner: Connection) -> None:
    owner.execute("ALTER TABLE users DROP COLUMN bio")
    response = client.get("/api/activities/@andrewbrown")

    assert response.status_code == 500
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
