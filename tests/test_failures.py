"""Error responses: unknown paths and methods, malformed requests, and failures of the database."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg import Connection, OperationalError

from app import create_app
from harness.waiting import SECONDS
from lib.config import Config
from lib.pool import THREADS
from tests.conftest import FRONTEND, SignIn
from tests.factories import Make
from tests.tokens import bearer, pool

PROBLEM = "application/problem+json"
PATHS = [
    "/api/activities/home",
    "/api/activities/search?term=x",
    "/api/activities/@andrewbrown",
    "/api/activities/@andrewbrown/status/5eed0000-0000-4000-a000-000000000001",
    "/api/users/@andrewbrown/short",
]


UNKNOWN_PATHS = [
    *("/api", "/api/", "/nope", "/static/x", "/api/messages/@bayko", "/api//activities/home"),
    *("/api/activities/", "/api/activities/home/", "/api/activities//home"),
    *("/api/activities/home%00", "/api/activities/%FF", "/api/activities/home;x"),
]


@pytest.fixture
def growing_pool() -> None:
    """Keep the service's pool, which opens all of its connections at once: the tests below close them."""


def test_unknown_path_is_not_found(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for path in UNKNOWN_PATHS:
        with subtests.test(path):
            response = client.get(path)

            assert (response.status_code, response.json) == (404, ["not_found"])
            assert response.content_type == "application/json"


def test_unsupported_method_is_rejected_with_allow_header(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for path in [*PATHS, "/api/health-check"]:
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"]:
            with subtests.test(f"{method} {path}"):
                response = client.open(path, method=method)

                assert (response.status_code, response.json) == (405, ["method_not_allowed"])
                assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_error_is_a_problem_document_on_request(client: FlaskClient) -> None:
    response = client.get("/nope", headers={"Accept": PROBLEM})

    assert (response.status_code, response.content_type) == (404, PROBLEM)
    assert response.json == {"type": "about:blank", "title": "Not Found", "status": 404, "codes": ["not_found"]}


ACCEPT_HEADERS = [
    ("application/json, application/problem+json", PROBLEM),
    ("application/problem+json;q=0.1", PROBLEM),
    ("Application/Problem+JSON; charset=utf-8", PROBLEM),
    ("application/problem+json;q=0", "application/json"),
    ("*/*", "application/json"),
    ("text/html", "application/json"),
    ("", "application/json"),
    (";;;,,=", "application/json"),
]


def test_problem_document_needs_an_explicit_accept_header(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for accept, content_type in ACCEPT_HEADERS:
        with subtests.test(accept):
            assert client.get("/nope", headers={"Accept": accept}).content_type == content_type


MALFORMED_HOSTS = ["", "a,b", "a b", "user@host", "host/path", "host:port", "[::1", "[", "hôst"]


def test_malformed_host_is_a_client_error(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for host in MALFORMED_HOSTS:
        with subtests.test(host):
            response = client.get("/api/health-check", headers={"Host": host})

            assert (response.status_code, response.json) == (400, ["json_invalid"])


def test_any_valid_host_is_accepted(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for host in ("api.cruddur.example", "backend_flask:4567", "127.0.0.1:4567", "[::1]:4567"):
        with subtests.test(host):
            assert client.get("/api/health-check", headers={"Host": host}).status_code == 200


def test_http_1_0_needs_no_host(client: FlaskClient) -> None:
    environ = {"SERVER_PROTOCOL": "HTTP/1.0", "HTTP_HOST": ""}

    assert client.get("/api/health-check", environ_overrides=environ).status_code == 200


def test_path_with_several_leading_slashes_is_not_found(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for path in ("//api/activities/home", "///livez", "//nope"):
        with subtests.test(path):
            response = client.get("/", environ_overrides={"PATH_INFO": path})

            assert (response.status_code, response.json) == (404, ["not_found"])


@pytest.mark.parametrize("path", ["/api/health-check", "/nope"])
def test_methods_are_case_sensitive(client: FlaskClient, path: str) -> None:
    response = client.get(path, environ_overrides={"REQUEST_METHOD": "get"})

    assert (response.status_code, response.json) == {
        "/api/health-check": (405, ["method_not_allowed"]),
        "/nope": (404, ["not_found"]),
    }[path]


@pytest.mark.usefixtures("bystander")
def test_lower_case_method_writes_nothing(client: FlaskClient, make: Make) -> None:
    author = make.user()

    response = client.post(
        "/api/activities",
        json={"message": "hello", "ttl": "1-day"},
        headers=bearer(author.cognito_user_id),
        environ_overrides={"REQUEST_METHOD": "post"},
    )

    assert (response.status_code, response.headers["Allow"]) == (405, "OPTIONS, POST")
    assert make.messages() == []


def test_malformed_query_is_refused_on_every_route(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for path in [*(path.split("?")[0] for path in PATHS), "/api/health-check"]:
        for query in ["x=%00", "%00", "x=%FF", "x=%ED%A0%80"]:
            with subtests.test(f"{path}?{query}"):
                response = client.get(f"{path}?{query}")

                assert (response.status_code, response.json) == (400, ["json_invalid"])


def test_error_varies_by_accept_header(client: FlaskClient) -> None:
    assert set(client.get("/nope").headers.getlist("Vary")) == {"Accept", "Origin"}


@pytest.fixture
def cut_off() -> Iterator[Flask]:
    """Create the application without a database."""
    app = create_app(Config(connection_url="postgresql://127.0.0.1:1/none", frontend_urls=(FRONTEND,), **pool()))
    yield app
    app.extensions["database_pool"].close()


def test_unreachable_database_is_service_unavailable(cut_off: Flask) -> None:
    response = cut_off.test_client().get(PATHS[0])

    assert (response.status_code, response.json) == (503, ["service_unavailable"])
    assert int(response.headers["Retry-After"]) > 0
    # No statement ran: all of the time was the pool's.
    assert "db;dur=0.00" in response.headers["Server-Timing"]
    assert "pool;dur=0.00" not in response.headers["Server-Timing"]


def test_statement_timeout_is_service_unavailable(
    subtests: pytest.Subtests, client: FlaskClient, make: Make, owner: Connection
) -> None:
    make.user("andrewbrown")

    for path in PATHS:
        with subtests.test(path):
            with owner.transaction():
                owner.execute("LOCK TABLE users, activities IN ACCESS EXCLUSIVE MODE")
                response = client.get(path)

            assert (response.status_code, response.json) == (503, ["service_unavailable"])
            assert client.get("/api/users/@andrewbrown/short").status_code == 200


LOST = OperationalError("the connection was lost")
SESSIONS = """
    SELECT pid FROM pg_stat_activity WHERE usename = 'cruddur_service' AND datname = current_database() ORDER BY pid
"""


def test_slow_statement_keeps_its_connection_and_a_closed_circuit(
    service_url: str, jwks_url: str, make: Make, owner: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    # The statement then waits for the lock until its own timeout.
    owner.execute(f"ALTER ROLE cruddur_service IN DATABASE {owner.info.dbname} SET lock_timeout TO 0".encode())
    author = make.user()
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **pool(jwks_url)))
    app.extensions["database_pool"].pool.wait(SECONDS)
    before = owner.execute(SESSIONS).fetchall()

    with owner.transaction():
        owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        slow = app.test_client().get(f"/api/activities/@{author.handle}")
        other = app.test_client().get(f"/api/users/@{author.handle}/short")

    assert (slow.status_code, slow.json) == (503, ["service_unavailable"])
    assert other.status_code == 200
    assert owner.execute(SESSIONS).fetchall() == before
    assert "may be away" not in caplog.text
    app.extensions["database_pool"].close()


def test_full_server_leaves_pooled_connections_usable(app: Flask, make: Make, owner: Connection) -> None:
    path = f"/api/users/@{make.user().handle}/short"
    app.extensions["database_pool"].pool.wait(SECONDS)
    lost = owner.execute(SESSIONS).fetchall()[0]
    # The limit acts as if other clients had taken the lost connection's slot.
    owner.execute(f"ALTER DATABASE {owner.info.dbname} CONNECTION LIMIT 3".encode())
    owner.execute("SELECT pg_terminate_backend(%s, 5000)", lost)
    app.extensions["database_pool"]._breaker.record_failure(LOST)  # noqa: SLF001 - a request does it

    responses = [app.test_client().get(path).status_code for _ in range(20)]

    assert responses == [200] * 20


@pytest.mark.usefixtures("bystander")
def test_failover_costs_one_write(app: Flask, sign_in: SignIn, make: Make) -> None:
    client, connections = sign_in(make.user()), app.extensions["database_pool"].pool
    connections.wait(SECONDS)
    # The connections' state after their server has become a standby.
    pooled = [connections.getconn() for _ in range(THREADS)]
    for connection in pooled:
        connection.execute("SET default_transaction_read_only TO on")
        connections.putconn(connection)

    responses = [client.post("/api/activities", json={"message": f"{n}", "ttl": "1-day"}) for n in range(THREADS)]

    assert [response.status_code for response in responses] == [503, 200, 200, 200]
    assert responses[0].json == ["service_unavailable"]
    assert sorted(make.messages()) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("path", "body", "codes"),
    [
        ("/api/activities", {"message": " ", "ttl": "1-day"}, ["message_blank"]),
        (f"/api/activities/{UUID(int=1)}/reply", {"message": ""}, ["message_blank"]),
        ("/api/messages", {"message": " ", "message_group_uuid": str(UUID(int=1))}, ["message_blank"]),
        ("/api/messages", {"message": "", "handle": ""}, ["message_blank", "user_reciever_handle_blank"]),
        ("/api/profile/update", {"display_name": " "}, ["display_name_blank"]),
        ("/api/activities", [], ["json_invalid"]),
    ],
)
def test_invalid_input_costs_no_query(jwks_url: str, path: str, body: object, codes: list[str]) -> None:
    app = create_app(
        Config(connection_url="postgresql://127.0.0.1:1/none", frontend_urls=(FRONTEND,), **pool(jwks_url))
    )
    client = app.test_client()

    response = client.post(path, json=body, headers=bearer("somebody"))
    assert (response.status_code, response.json) == (422 if "blank" in codes[0] else 400, codes)
    # A valid request needs the database, which is unreachable.
    valid = {"message": "hello", "ttl": "1-day", "message_group_uuid": str(UUID(int=1)), "display_name": "Lin"}
    assert client.post(path, json=valid, headers=bearer("somebody")).status_code == 503
    app.extensions["database_pool"].close()


def test_connections_ended_by_the_server_cost_no_request(client: FlaskClient, make: Make, owner: Connection) -> None:
    make.activity(make.user())
    assert client.get(PATHS[0]).status_code == 200
    owner.execute(
        """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE usename = 'cruddur_service' AND datname = current_database()
        """
    )

    assert [client.get(PATHS[0]).status_code for _ in range(8)] == [200] * 8


def test_internal_error_reveals_nothing_of_the_database(
    client: FlaskClient, make: Make, owner: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    make.user("andrewbrown", bio="a secret of his")
    owner.execute("ALTER TABLE users RENAME COLUMN bio TO biography")

    response = client.get("/api/activities/@andrewbrown")

    assert (response.status_code, response.data) == (500, b'["generic_500"]')
    # The log names exception and function, and quotes no user's text.
    assert "UndefinedColumn 42703" in caplog.text
    assert "in query_page" in caplog.text
    assert "bio" not in caplog.text


def test_foreign_key_violation_is_not_found(sign_in: SignIn, make: Make, owner: Connection) -> None:
    # The same error as for a user's row deleted between its lookup and the write.
    owner.execute("ALTER TABLE activities ADD FOREIGN KEY (uuid) REFERENCES users (uuid)")

    response = sign_in(make.user()).post("/api/activities", json={"message": "hello", "ttl": "1-day"})

    assert (response.status_code, response.json) == (404, ["not_found"])
