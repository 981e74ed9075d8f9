"""The first request of a user: the service creates the row that Cognito's trigger has not created."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from psycopg import Connection
from werkzeug.test import TestResponse

import lib.cognito
from app import create_app
from lib.cognito import RETRY_INTERVAL_SECONDS
from lib.config import Config
from tests.clock import Clock
from tests.cognito import GET_USER, FakeCognito
from tests.conftest import FRONTEND
from tests.factories import Make, User
from tests.tokens import bearer

PEOPLE = "SELECT handle, display_name, email, cognito_user_id FROM users WHERE handle NOT IN ('bystander', 'friend')"
LIN = {"preferred_username": "LinYue", "name": "Lin Yue", "email": "lin@example.com"}


@pytest.fixture
def app(service_url: str, cognito: FakeCognito) -> Iterator[Flask]:
    """Create the application with the fake Cognito."""
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **cognito.pool))
    yield app
    app.extensions["database_pool"].close()


@pytest.fixture
def ask(app: Flask) -> Callable[[str], TestResponse]:
    """Return a function that requests a route with login required, as the user with the given sub."""
    return lambda sub: app.test_client().get("/api/message_groups", headers=bearer(sub))


Ask = Callable[[str], TestResponse]


def people(owner: Connection) -> list[tuple[object, ...]]:
    """Return all users except the bystander and friend."""
    return owner.execute(PEOPLE).fetchall()


def forget(owner: Connection, sub: str) -> None:
    """Delete a user, whose next request is then a first one again."""
    owner.execute("DELETE FROM users WHERE cognito_user_id = %s", [sub])


@pytest.mark.usefixtures("bystander")
def test_display_name_is_cleaned(subtests: pytest.Subtests, ask: Ask, owner: Connection, cognito: FakeCognito) -> None:
    for name, display_name in (
        *(
            ("Lin\nYue", "Lin Yue"),
            (" Lin\x1b ", "Lin"),
            ("\u202eLin", "Lin"),
            ("Lin\0", "Lin"),
            ("\x07" * 60 + "Lin", "Lin"),
        ),
        *(("\u200b", "LinYue"), ("\x07", "LinYue"), ("\u3164", "LinYue"), ("\u202e\u2066", "LinYue"), ("", "LinYue")),
    ):
        cognito.people["sub-lin"] = LIN | {"name": name}
        with subtests.test(ascii(name)):
            assert ask("sub-lin").status_code == 200
            assert people(owner) == [("LinYue", display_name, "lin@example.com", "sub-lin")]
        forget(owner, "sub-lin")


@pytest.mark.usefixtures("bystander")
def test_new_user_is_created_once_with_cognitos_attributes(ask: Ask, owner: Connection, cognito: FakeCognito) -> None:
    cognito.people["sub-lin"] = LIN

    for _ in range(3):
        assert (ask("sub-lin").status_code, ask("sub-lin").json) == (200, [])

    assert people(owner) == [("LinYue", "Lin Yue", "lin@example.com", "sub-lin")]
    assert cognito.asked[GET_USER] == 1


@pytest.mark.usefixtures("bystander")
def test_32_concurrent_first_requests_create_one_user(ask: Ask, owner: Connection, cognito: FakeCognito) -> None:
    cognito.people["sub-lin"] = LIN

    with ThreadPoolExecutor(32) as pool:
        responses = list(pool.map(ask, ["sub-lin"] * 32))

    assert {response.status_code for response in responses} == {200}
    assert people(owner) == [("LinYue", "Lin Yue", "lin@example.com", "sub-lin")]


@pytest.mark.usefixtures("bystander")
def test_new_user_may_write_at_once(app: Flask, cognito: FakeCognito) -> None:
    cognito.people["sub-lin"] = LIN

    response = app.test_client().post(
        "/api/activities", json={"message": "hello", "ttl": "1-day"}, headers=bearer("sub-lin")
    )

    assert (response.status_code, response.json["handle"]) == (200, "LinYue")


@pytest.mark.usefixtures("bystander")
def test_taken_or_invalid_handle_gets_a_suffix(
    subtests: pytest.Subtests, ask: Ask, make: Make, cognito: FakeCognito
) -> None:
    make.user("Taken")

    for wanted, given in (
        *(("LinYue", "LinYue"), ("x" * 30, "x" * 30), ("_", "_")),
        *(("taken", "taken_HHHH"), ("TAKEN", "TAKEN_HHHH"), ("lin yue", "linyue_HHHH"), ("lin-yue!", "linyue_HHHH")),
        *(("x" * 31, "x" * 25 + "_HHHH"), ("é", "user_HHHH"), ("", "user_HHHH"), ("☁️", "user_HHHH")),
        *(("lin\0", "lin_HHHH"), ("lin\n", "lin_HHHH"), ("\ud800", "user_HHHH"), (None, "user_HHHH")),
    ):
        cognito.people["new"] = {"name": "N"} | ({"preferred_username": wanted} if wanted is not None else {})
        with subtests.test(ascii(wanted)):
            assert ask("new").status_code == 200

            (handle,) = make.owner.execute("SELECT handle FROM users WHERE cognito_user_id = 'new'").fetchone()
            assert re.fullmatch(given.replace("HHHH", "[0-9a-f]{4}"), handle)
        forget(make.owner, "new")


@pytest.mark.usefixtures("bystander")
def test_display_name_is_shortened_or_replaced_to_be_valid(
    subtests: pytest.Subtests, ask: Ask, owner: Connection, cognito: FakeCognito
) -> None:
    for name, shown in (
        *((" Lin ", "Lin"), ("é" * 51, "é" * 50), ("", "LinYue"), (" \u3000", "LinYue"), ("a\0b\ud800c", "abc")),
        ("\0", "LinYue"),
    ):
        cognito.people["sub-lin"] = {**LIN, "name": name, "email": ""}
        with subtests.test(ascii(name)):
            assert ask("sub-lin").status_code == 200

            assert people(owner) == [("LinYue", shown, None, "sub-lin")]
        forget(owner, "sub-lin")


@pytest.mark.usefixtures("bystander")
def test_16_concurrent_new_users_with_one_handle_are_all_created(
    ask: Ask, owner: Connection, cognito: FakeCognito
) -> None:
    cognito.people = {f"new-{n}": LIN for n in range(16)}

    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(ask, cognito.people))

    assert {response.status_code for response in responses} == {200}
    handles = [str(handle) for handle, *_ in people(owner)]
    assert handles.count("LinYue") == 1
    assert len([handle for handle in handles if re.fullmatch("LinYue_[0-9a-f]{4}", handle)]) == 15


def error_response(name: str) -> tuple[int, bytes]:
    """Return an error response of Cognito's API."""
    return 400, json.dumps({"__type": name, "message": "secret"}).encode()


@pytest.mark.usefixtures("bystander")
def test_user_refused_by_cognito_is_rejected(
    subtests: pytest.Subtests, ask: Ask, owner: Connection, cognito: FakeCognito
) -> None:
    cognito.people["sub-lin"] = LIN

    for name in (
        *("NotAuthorizedException", "com.amazonaws.cognito#UserNotFoundException", "PasswordResetRequiredException"),
        *("UserNotConfirmedException", "InvalidParameterException"),
    ):
        cognito.faults[GET_USER] = error_response(name)
        with subtests.test(name):
            response = ask("sub-lin")

            assert (response.status_code, response.json) == (401, ["generic_401"])
            assert people(owner) == []


@pytest.mark.usefixtures("bystander")
def test_invalid_response_of_cognito_is_service_unavailable(
    subtests: pytest.Subtests, ask: Ask, owner: Connection, cognito: FakeCognito
) -> None:
    cognito.people["sub-lin"] = LIN

    for fault in (
        *(
            error_response("TooManyRequestsException"),
            error_response("InternalErrorException"),
            error_response("ResourceNotFoundException"),
        ),
        *((200, b""), (200, b"{}"), (200, b"null"), (200, b"[]"), (200, b'"UserAttributes"'), (200, b"\xff")),
        *((200, b'{"UserAttributes": 1}'), (200, b'{"UserAttributes": [1]}'), (200, b'{"UserAttributes": [{}]}')),
        *((302, b""), (403, b"<html>"), (500, b"oops"), (503, b'{"message": "no type"}')),
    ):
        cognito.faults[GET_USER] = fault
        with subtests.test(str(fault)):
            response = ask("sub-lin")

            assert (response.status_code, response.json) == (503, ["service_unavailable"])
            assert int(response.headers["Retry-After"]) > 0
            assert people(owner) == []
            cognito.faults.clear()
            assert ask("sub-lin").status_code == 200
        forget(owner, "sub-lin")


def test_unreachable_cognito_affects_new_users_only(
    ask: Ask, app: Flask, cognito: FakeCognito, bystander: User, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(bystander.cognito_user_id).status_code == 200
    cognito.answering.clear()

    silent = ask("sub-lin")

    assert (silent.status_code, silent.json) == (503, ["service_unavailable"])
    assert f"{cognito.url} does not answer GetUser" in caplog.text
    assert ask(bystander.cognito_user_id).status_code == 200
    visitor = app.test_client().get("/api/activities/home", headers=bearer("sub-lin"))
    assert visitor.status_code == 200


def test_cognito_timeout_is_remembered_for_a_while(
    ask: Ask, cognito: FakeCognito, bystander: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(lib.cognito, "time", clock)
    assert ask(bystander.cognito_user_id).status_code == 200
    cognito.people["sub-lin"] = LIN
    cognito.answering.clear()
    assert ask("sub-lin").status_code == 503
    cognito.answering.set()

    clock.now += RETRY_INTERVAL_SECONDS - 0.001
    assert ask("sub-lin").status_code == 503
    assert cognito.asked[GET_USER] == 1
    clock.now += 0.001

    assert ask("sub-lin").status_code == 200


@pytest.mark.usefixtures("bystander")
def test_log_contains_no_token_and_no_message_of_cognitos(
    ask: Ask, cognito: FakeCognito, caplog: pytest.LogCaptureFixture
) -> None:
    cognito.faults[GET_USER] = error_response("InternalErrorException")

    assert ask("sub-lin").status_code == 503

    assert "InternalErrorException" in caplog.text
    assert "secret" not in caplog.text
    assert "eyJ" not in caplog.text
