"""Who may call what: every route, for everybody who may ask, and whoever forges a token."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from http import HTTPStatus

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg import Connection

from app import create_app
from lib.config import Config
from tests.conftest import FRONTEND
from tests.factories import Make, User
from tests.routes import PUBLIC, SIGNED_IN, World, encoded
from tests.tokens import CLIENT_ID, bearer, claims, new_key, pool, user_pool


def by_hand(header: dict[str, str], sub: str, sign: Callable[[bytes], bytes]) -> str:
    """A token that no library would make."""
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims(sub)).encode())}"
    return f"{signed}.{encoded(sign(signed.encode()))}"


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    """A signature that whoever knows `secret` can make."""
    return lambda signed: hmac.digest(secret, signed, hashlib.sha256)


def forgeries(sub: str) -> dict[str, dict[str, str]]:
    """The headers of all who are not `sub`, or not any more, and say so."""
    other_pool = f"{user_pool().issuer.rpartition('_')[0]}_others"
    public = new_key("ours")
    made = {
        "alg: none": by_hand({"alg": "none", "kid": "ours"}, sub, lambda _: b""),
        "alg: None": by_hand({"alg": "None", "kid": "ours"}, sub, lambda _: b""),
        "no alg": by_hand({"kid": "ours"}, sub, lambda _: b""),
        "a signature left out": bearer(sub)["Authorization"].rpartition(".")[0][7:] + ".",
        **{
            f"HS256 by the public key's {form}": by_hand({"alg": "HS256", "kid": "ours"}, sub, hs256(secret))
            for form, secret in {
                "PEM": public.as_pem(private=False),
                "DER": public.as_der(private=False),
                "JWK": json.dumps(public.as_dict(private=False)).encode(),
            }.items()
        },
    }
    return {
        "nobody": {},
        "a visitor": {"Authorization": "Bearer null"},
        "expired": bearer(sub, exp=int(time.time()) - 1),
        "never expiring": bearer(sub, exp=None),
        "ID token": bearer(sub, token_use="id", client_id=None, aud=CLIENT_ID),
        "token of no use": bearer(sub, token_use=None),
        "another pool's": bearer(sub, iss=other_pool),
        "another pool's key": bearer(sub, key=new_key("theirs")),
        "another key by our id": bearer(sub, key=new_key("theirs"), header={"kid": "ours"}),
        "wrong client": bearer(sub, client_id="another"),
        "no client": bearer(sub, client_id=None, aud=CLIENT_ID),
        "nobody's": bearer(sub, sub=None),
        **{name: {"Authorization": f"Bearer {text}"} for name, text in made.items()},
    }


def routes(app: Flask) -> set[tuple[str, str]]:
    """Every method and rule that there is; HEAD goes where GET does."""
    return {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.fixture
def world(make: Make, bystander: User) -> World:
    """Three people, an activity and a conversation; and somebody whom nothing concerns."""
    owner, member, stranger = make.user("owner"), make.user("member"), make.user("stranger")
    activity = make.activity(owner, "the owner's", ttl="7 days")
    return World(owner, member, stranger, activity, make.conversation(owner, member, "between the two"), bystander)


def test_every_route_has_a_row(app: Flask) -> None:
    assert routes(app) == PUBLIC | SIGNED_IN.keys()


@pytest.mark.parametrize(("method", "rule"), sorted(PUBLIC))
def test_what_is_public_is_answered_to_everybody_the_same(app: Flask, world: World, method: str, rule: str) -> None:
    client, path = app.test_client(), f"{world.path(rule)}?term=owner"
    visitors = client.open(path, method=method)
    assert visitors.status_code == HTTPStatus.OK
    people = {person.handle: bearer(person.cognito_user_id) for person in (world.owner, world.stranger)}

    for asker, headers in (forgeries(world.owner.cognito_user_id) | people).items():
        answer = client.open(path, method=method, headers=headers)
        assert (answer.status_code, answer.data) == (HTTPStatus.OK, visitors.data), asker
        assert client.head(path, headers=headers).status_code == HTTPStatus.OK, asker


@pytest.mark.parametrize(("method", "rule"), sorted(SIGNED_IN))
def test_a_forger_learns_nothing_and_changes_nothing(
    app: Flask, owner: Connection, world: World, method: str, rule: str
) -> None:
    body, before = SIGNED_IN[method, rule].body(world), world.rows(owner)

    for each in (method, "HEAD") if method == "GET" else (method,):
        for asker, headers in forgeries(world.owner.cognito_user_id).items():
            answer = app.test_client().open(world.path(rule), method=each, json=body, headers=headers)
            assert answer.status_code == HTTPStatus.UNAUTHORIZED, asker
            assert each == "HEAD" or answer.json == ["generic_401"]
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Cache-Control"] == "private, no-store"
    assert world.rows(owner) == before


@pytest.mark.parametrize(("method", "rule"), sorted(SIGNED_IN))
def test_whoever_is_signed_in_reaches_what_concerns_them(
    app: Flask, owner: Connection, world: World, method: str, rule: str
) -> None:
    row = SIGNED_IN[method, rule]

    # The owner comes last: what they delete is gone.
    for person in (world.stranger, world.member, world.owner):
        before, headers = world.rows(owner), bearer(person.cognito_user_id)
        answer = app.test_client().open(world.path(rule), method=method, json=row.body(world), headers=headers)
        assert answer.status_code == getattr(row, person.handle), person.handle
        assert answer.headers["Cache-Control"] == "private, no-store"
        if answer.status_code == HTTPStatus.NOT_FOUND:
            assert (answer.json, world.rows(owner)) == (["not_found"], before)


def test_a_route_that_says_nothing_answers_nobody(service_url: str, jwks_url: str, make: Make) -> None:
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **pool(jwks_url)))
    app.add_url_rule("/unmarked", view_func=lambda: "for whom?")
    client = app.test_client()

    assert client.get("/unmarked").status_code == HTTPStatus.UNAUTHORIZED
    assert client.get("/unmarked", headers=bearer(make.user().cognito_user_id)).status_code == HTTPStatus.OK
    app.extensions["database_pool"].close()


def test_every_route_says_for_whom_it_is(app: Flask) -> None:
    unmarked = [name for name, view in app.view_functions.items() if not hasattr(view, "auth_policy")]

    assert unmarked == []


@pytest.mark.parametrize("rule", sorted({rule for _, rule in PUBLIC | SIGNED_IN.keys()}))
def test_everybody_may_ask_what_a_route_takes(client: FlaskClient, world: World, rule: str) -> None:
    answer = client.options(world.path(rule))

    assert (answer.status_code, answer.data) == (200, b"")
    assert "OPTIONS" in answer.headers["Allow"]


def test_without_any_keys_so_far_only_what_needs_them_is_unavailable(service_url: str, make: Make) -> None:
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **pool()))
    client, headers = app.test_client(), bearer(make.user().cognito_user_id)

    assert client.get("/api/activities/home", headers=headers).status_code == HTTPStatus.OK
    answer = client.get("/api/message_groups", headers=headers)
    assert (answer.status_code, answer.json) == (503, ["service_unavailable"])
    assert int(answer.headers["Retry-After"]) > 0
    # What is no token at all needs no keys.
    assert client.get("/api/message_groups", headers={"Authorization": "Bearer null"}).status_code == 401
    app.extensions["database_pool"].close()
