"""The application is a plain Flask application: hooks and extensions do what Flask's documentation says."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, after_this_request, g, request, stream_with_context
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from werkzeug.test import EnvironBuilder

from lib.auth import public
from ops.command import ROOT
from serve import MAX_JOINED_BYTES, with_short_bodies_joined
from tests.conftest import FRONTEND
from tests.factories import Make

BACKEND = ROOT / "backend-flask"
HOME = "/api/activities/home"


class Teapot(Exception):
    """A failure that only the test's error handler handles."""


@pytest.fixture
def calls(app: Flask) -> list[str]:
    """Register hooks, and return the list of their calls in order."""
    calls: list[str] = []

    app.url_value_preprocessor(lambda *_: calls.append("url_value_preprocessor"))
    app.teardown_request(lambda _: calls.append("teardown_request"))
    app.teardown_appcontext(lambda _: calls.append("teardown_appcontext"))

    @app.before_request
    def before() -> None:
        g.answer = 42
        calls.append("before_request")

    @app.after_request
    def after(response: Response) -> Response:
        response.headers["X-After"] = str(g.answer)
        calls.append("after_request")
        return response

    return calls


ALL_HOOKS = ["url_value_preprocessor", "before_request", "after_request", "teardown_request", "teardown_appcontext"]


def test_flask_methods_are_not_overridden(app: Flask) -> None:
    assert type(app) is Flask
    assert {name for name in vars(app) if callable(getattr(Flask, name, None))} == set()
    assert app.request_class is Flask.request_class
    assert app.response_class is Flask.response_class


@pytest.mark.parametrize("path", [HOME, "/api/activities/@missing", "/nope", "/livez"])
def test_every_request_runs_the_hooks(app: Flask, calls: list[str], path: str) -> None:
    for _ in range(2):
        del calls[:]
        response = app.test_client().get(path)

        assert response.headers["X-After"] == "42"
        assert calls == ALL_HOOKS


def test_before_request_hook_may_respond(app: Flask) -> None:
    app.before_request(lambda: Response("closed", 418) if request.path == HOME else None)

    assert app.test_client().get(HOME).status_code == 418
    assert app.test_client().get("/livez").status_code == 200


def test_failing_hook_gives_an_error_response(app: Flask) -> None:
    def fail(*_: object) -> None:
        raise Teapot

    app.url_value_preprocessor(fail)
    response = app.test_client().get(HOME, headers={"Origin": FRONTEND})

    assert (response.status_code, response.json) == (500, ["generic_500"])
    assert response.headers["Access-Control-Allow-Origin"] == FRONTEND
    assert response.headers["X-Request-Id"]


def test_error_handler_of_a_class_takes_precedence(app: Flask, calls: list[str]) -> None:
    @app.get("/teapot")
    @public
    def teapot() -> Response:
        raise Teapot

    app.register_error_handler(Teapot, lambda _: ("short and stout", 418))
    response = app.test_client().get("/teapot")

    assert (response.status_code, response.text) == (418, "short and stout")
    assert calls == ALL_HOOKS


def test_after_this_request_and_call_on_close_run(app: Flask) -> None:
    closed = []

    @app.get("/own")
    @public
    def own() -> Response:
        response = Response("own")
        response.call_on_close(lambda: closed.append("call_on_close"))

        @after_this_request
        def mark(response: Response) -> Response:
            response.headers["X-Own"] = "yes"
            return response

        return response

    response = app.test_client().get("/own")
    response.close()

    assert (response.text, response.headers["X-Own"], closed) == ("own", "yes", ["call_on_close"])
    assert "X-Own" not in app.test_client().get("/livez").headers


def test_response_may_stream(app: Flask, calls: list[str]) -> None:
    @app.get("/stream")
    @public
    def stream() -> Response:
        def parts() -> Iterator[str]:
            for n in range(3):
                calls.append(f"part {n}")
                yield f"{request.path} {n}\n"

        return Response(stream_with_context(parts()))

    response = app.test_client().get("/stream")

    assert response.text == "/stream 0\n/stream 1\n/stream 2\n"
    assert response.headers["X-Request-Id"]
    assert [call for call in calls if call.startswith("part")] == ["part 0", "part 1", "part 2"]


@pytest.mark.parametrize(
    ("length", "is_joined"),
    [(0, True), (MAX_JOINED_BYTES, True), (MAX_JOINED_BYTES + 1, False), (None, False)],
)
def test_server_gets_a_short_body_as_a_list(app: Flask, length: int | None, is_joined: object) -> None:
    events = []

    @app.get("/body")
    @public
    def body() -> Response:
        response = Response(b"x" * length) if length is not None else Response(iter([b"a", b"b"]))
        response.call_on_close(lambda: events.append("closed"))
        return response

    environ = EnvironBuilder(path="/body").get_environ()
    result: Any = with_short_bodies_joined(app)(environ, lambda *_: lambda _: None)

    assert isinstance(result, list) == is_joined
    assert events == (["closed"] if is_joined else [])
    assert b"".join(result) == (b"x" * length if length is not None else b"ab")
    if not is_joined:
        result.close()
    assert events == ["closed"]


def test_view_without_a_decorator_requires_login(app: Flask) -> None:
    app.add_url_rule("/secret", view_func=lambda: "secret", endpoint="secret")

    assert app.test_client().get("/secret").json == ["generic_401"]


def test_flask_limiter_limits_each_route_and_the_cached_page(app: Flask, make: Make) -> None:
    make.activity(make.user("lin"))
    Limiter(get_remote_address, app=app, default_limits=["1 per minute"], storage_uri="memory://")
    client = app.test_client()

    for path in (HOME, "/api/activities/@lin"):
        first, second, third = (client.get(path, headers={"Origin": FRONTEND}) for _ in range(3))
        assert [first.status_code, second.status_code, third.status_code] == [200, 429, 429]
        assert third.json == ["too_many_requests"]
        assert third.headers["Access-Control-Allow-Origin"] == FRONTEND
        assert int(third.headers["Retry-After"]) > 0


def test_modules_import_without_warnings(tmp_path: Path) -> None:
    modules = [".".join(path.relative_to(BACKEND).with_suffix("").parts) for path in BACKEND.rglob("*.py")]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(f"import {module}" for module in modules)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(BACKEND)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(modules) > 40
    assert (result.returncode, result.stderr) == (0, "")
