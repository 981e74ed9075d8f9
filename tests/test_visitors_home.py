"""The visitor's first page in front of Flask: which requests get it there, and that Flask would answer the same."""

from collections.abc import Iterator
from functools import partial

import pytest
from flask import Flask, request_started
from flask.testing import FlaskClient
from werkzeug.test import Client, TestResponse

from lib.cors import Cors
from lib.service import Service
from tests.conftest import FRONTEND, SignIn
from tests.make import Make

HOME = "/api/activities/home"


@pytest.fixture
def full(make: Make) -> None:
    """A feed of two pages."""
    author = make.user()
    for n in range(21):
        make.activity(author, f"{n} ü 😀")


@pytest.fixture
def asked(app: Flask) -> Iterator[list[object]]:
    """An element for each request that Flask has had to look at."""
    asked: list[object] = []
    with request_started.connected_to(lambda sender, **_: asked.append(sender), app):
        yield asked


@pytest.fixture
def behind(app: Service) -> Client:
    """A client of Flask itself, which has nothing in front of it but the rules about origins."""
    flask = partial(Service.wsgi_app, app)
    return Client(Cors(flask, frozenset([FRONTEND])))


def told(answer: TestResponse) -> tuple[str, bytes, list[tuple[str, str]]]:
    """All that an answer says."""
    own = {"X-Request-Id", "Server-Timing"}
    return answer.status, answer.data, sorted(header for header in answer.headers if header[0] not in own)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": FRONTEND},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Authorization": "Bearer null"},
        {"Content-Type": "application/json", "Accept": "application/problem+json"},
        {"Range": "bytes=0-1", "If-Match": '"other"'},
    ],
)
def test_it_says_what_flask_says(
    client: FlaskClient, behind: Client, asked: list[object], headers: dict[str, str]
) -> None:
    first = client.get(HOME)
    known = {"If-None-Match": first.headers["ETag"]}
    del asked[:]

    answers = [told(client.get(HOME, headers=given)) for given in (headers, headers | known)]
    assert asked == []
    assert answers == [told(behind.get(HOME, headers=given)) for given in (headers, headers | known)]
    assert [status for status, *_ in answers] == ["200 OK", "304 NOT MODIFIED"]
    assert 'rel="next"' in dict(answers[0][2])["Link"]


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("HEAD /api/activities/home", {}, 200),
        ("POST /api/activities/home", {}, 405),
        ("OPTIONS /api/activities/home", {}, 200),
        ("GET /api/activities/home?limit=20", {}, 200),
        ("GET /api/activities/home?x=%00", {}, 400),
        ("GET /api/activities/home/", {}, 404),
        ("GET /api/activities/home", {"Authorization": "Bearer nul"}, 200),
        ("GET /api/activities/home", {"If-None-Match": "*"}, 304),
        ("GET /api/activities/home", {"If-None-Match": '"other"'}, 200),
        ("GET /api/activities/home", {"Host": "not a host"}, 400),
    ],
)
def test_what_is_not_plain_is_for_flask(
    client: FlaskClient, asked: list[object], request_line: str, headers: dict[str, str], status: int
) -> None:
    client.get(HOME)
    del asked[:]
    method, path = request_line.split()

    answer = client.open(path, method=method, headers=headers)

    assert (answer.status_code, len(asked)) == (status, 1)


def test_whoever_is_signed_in_is_not_answered_there(
    client: FlaskClient, sign_in: SignIn, make: Make, asked: list[object]
) -> None:
    reader = sign_in(make.user())
    client.get(HOME)
    del asked[:]

    assert reader.get(HOME).headers["Cache-Control"] == "private, no-store"
    assert len(asked) == 1
