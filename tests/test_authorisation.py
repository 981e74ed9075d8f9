"""Authorization: every route called by the owner, another user, an anonymous client and with each forged token."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from itertools import product

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg import Connection

from app import create_app
from lib.cognito import Cognito
from lib.config import Config
from tests.conftest import FRONTEND
from tests.factories import Make, User
from tests.routes import EVERY, OPTIONAL, PUBLIC, SIGNED_IN, World, encoded
from tests.tokens import CLIENT_ID, bearer, claims, new_key, pool, user_pool


def by_hand(header: dict[str, str], sub: str, sign: Callable[[bytes], bytes]) -> str:
    """Build a token that no library would make."""
    signing_input = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims(sub)).encode())}"
    return f"{signing_input}.{encoded(sign(signing_input.encode()))}"


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    """Return a signer for HMAC-SHA-256 with `secret`."""
    return lambda signing_input: hmac.digest(secret, signing_input, hashlib.sha256)


def forgeries(sub: str) -> dict[str, dict[str, str]]:
    """Return request headers by name, each with a token that must not authenticate as `sub`."""
    other_pool = f"{user_pool().issuer.rpartition('_')[0]}_others"
    public = new_key("ours")
    tokens = {
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
        **{name: {"Authorization": f"Bearer {text}"} for name, text in tokens.items()},
    }


def routes(app: Flask) -> set[tuple[str, str]]:
    """Return every method and rule of the application, without HEAD, which follows GET."""
    return {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.fixture
def world(make: Make, bystander: User, monkeypatch: pytest.MonkeyPatch) -> World:
    """Create four users, an activity and a conversation; and a bystander whose rows no request is about."""
    monkeypatch.setattr(Cognito, "email", lambda *_: None)
    owner, member, stranger = make.user("owner"), make.user("member"), make.user("stranger")
    blocked = make.user("blocked")
    activity = make.tag(make.activity(owner, "the owner's", ttl="7 days"), "owner")
    make.block(owner, blocked)
    make.block(member, blocked)
    group = make.conversation(owner, member, "between the two")
    return World(owner, member, stranger, activity, group, bystander, blocked)


def test_route_table_is_complete(app: Flask) -> None:
    assert routes(app) == EVERY


def test_public_route_responds_alike_to_every_client(subtests: pytest.Subtests, app: Flask, world: World) -> None:
    for method, rule in sorted(PUBLIC):
        with subtests.test(f"{method} {rule}"):
            client, path = app.test_client(), f"{world.path(rule)}?term=owner"
            visitors = client.open(path, method=method)
            assert visitors.status_code == HTTPStatus.OK
            people = {person.handle: bearer(person.cognito_user_id) for person in (world.owner, world.stranger)}

            for client_name, headers in (forgeries(world.owner.cognito_user_id) | people).items():
                response = client.open(path, method=method, headers=headers)
                assert (response.status_code, response.data) == (HTTPStatus.OK, visitors.data), client_name
                assert client.head(path, headers=headers).status_code == HTTPStatus.OK, client_name


def test_optional_route_responds_to_a_forged_token_as_to_an_anonymous_client(
    subtests: pytest.Subtests, app: Flask, world: World, make: Make
) -> None:
    make.like(world.activity, world.owner)
    make.repost(world.activity, world.owner)

    for method, rule in sorted(OPTIONAL):
        with subtests.test(f"{method} {rule}"):
            compare_clients(app.test_client(), world, method, rule)


def compare_clients(client: FlaskClient, world: World, method: str, rule: str) -> None:
    """Call a route with no token, with each forged token, and as users who see more or less."""
    path = f"{world.path(rule)}?term=owner"
    anonymous = client.open(path, method=method)
    assert anonymous.status_code == HTTPStatus.OK
    assert b'"liked"' not in anonymous.data
    assert b'"reposted"' not in anonymous.data

    for client_name, headers in forgeries(world.owner.cognito_user_id).items():
        response = client.open(path, method=method, headers=headers)
        assert (response.status_code, response.data) == (HTTPStatus.OK, anonymous.data), client_name
        assert response.headers["Cache-Control"] == "no-cache"
        assert client.head(path, headers=headers).status_code == HTTPStatus.OK, client_name
    for person, count in ((world.owner, 1), (world.stranger, 0)):
        response = client.open(path, method=method, headers=bearer(person.cognito_user_id))
        assert response.status_code == HTTPStatus.OK
        # The bystander's activities on the page belong to the home feed.
        for column in (b'"liked"', b'"reposted"'):
            assert response.data.count(column + b":true") == count
            assert column + b":false" in response.data or count
        assert response.headers["Cache-Control"] == "private, no-store"
    assert world.blocked is not None
    response = client.open(path, method=method, headers=bearer(world.blocked.cognito_user_id))
    # What belongs to the owner is 404, and in other feeds nothing of the owner's is left.
    assert response.status_code == (HTTPStatus.NOT_FOUND if "<handle:handle>" in rule else HTTPStatus.OK)
    assert b"the owner's" not in response.data


def test_forged_token_is_rejected_and_writes_nothing(
    subtests: pytest.Subtests, app: Flask, owner: Connection, world: World
) -> None:
    for method, rule in sorted(SIGNED_IN):
        with subtests.test(f"{method} {rule}"):
            body, before = SIGNED_IN[method, rule].body(world), world.rows(owner)

            for each in (method, "HEAD") if method == "GET" else (method,):
                for client_name, headers in forgeries(world.owner.cognito_user_id).items():
                    response = app.test_client().open(world.path(rule), method=each, json=body, headers=headers)
                    assert response.status_code == HTTPStatus.UNAUTHORIZED, client_name
                    assert each == "HEAD" or response.json == ["generic_401"]
                    assert response.headers["WWW-Authenticate"] == "Bearer"
                    assert response.headers["Cache-Control"] == "private, no-store"
            assert world.rows(owner) == before


READS = sorted((method, rule) for method, rule in SIGNED_IN if method == "GET")


WRITES = sorted(SIGNED_IN.keys() - {*READS})


# The reads leave the rows as they are. Each write gets new ones.
@pytest.mark.parametrize("calls", [READS, *([write] for write in WRITES)], ids=["reads", *map(" ".join, WRITES)])
def test_signed_in_user_reaches_only_own_resources(
    subtests: pytest.Subtests, app: Flask, owner: Connection, world: World, calls: list[tuple[str, str]]
) -> None:
    # The owner comes last: the owner's DELETE removes the activity.
    people = (world.stranger, world.blocked, world.member, world.owner)
    for (method, rule), person in product(calls, people):
        row = SIGNED_IN[method, rule]
        with subtests.test(f"{method} {rule}", person=person.handle):
            before, headers = world.rows(owner), bearer(person.cognito_user_id)
            response = app.test_client().open(world.path(rule), method=method, json=row.body(world), headers=headers)
            assert response.status_code == getattr(row, person.handle)
            assert response.headers["Cache-Control"] == "private, no-store"
            if response.status_code == HTTPStatus.NOT_FOUND:
                assert (response.json, world.rows(owner)) == (["not_found"], before)


def test_unmarked_route_requires_login(service_url: str, jwks_url: str, make: Make) -> None:
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **pool(jwks_url)))
    app.add_url_rule("/unmarked", view_func=lambda: "for whom?")
    client = app.test_client()

    assert client.get("/unmarked").status_code == HTTPStatus.UNAUTHORIZED
    assert client.get("/unmarked", headers=bearer(make.user().cognito_user_id)).status_code == HTTPStatus.OK
    app.extensions["database_pool"].close()


def test_every_view_has_an_auth_policy(app: Flask) -> None:
    unmarked = [name for name, view in app.view_functions.items() if not hasattr(view, "auth_policy")]

    assert unmarked == []


def test_options_needs_no_token(subtests: pytest.Subtests, client: FlaskClient, world: World) -> None:
    for rule in sorted({rule for _, rule in EVERY}):
        with subtests.test(rule):
            response = client.options(world.path(rule))

            assert (response.status_code, response.data) == (200, b"")
            assert "OPTIONS" in response.headers["Allow"]


def test_without_jwks_only_routes_that_verify_tokens_are_unavailable(service_url: str, make: Make) -> None:
    app = create_app(Config(connection_url=service_url, frontend_urls=(FRONTEND,), **pool()))
    client, headers = app.test_client(), bearer(make.user().cognito_user_id)

    assert client.get("/api/activities/home", headers=headers).status_code == HTTPStatus.OK
    response = client.get("/api/message_groups", headers=headers)
    assert (response.status_code, response.json) == (503, ["service_unavailable"])
    assert int(response.headers["Retry-After"]) > 0
    # A malformed token is rejected without any key.
    assert client.get("/api/message_groups", headers={"Authorization": "Bearer null"}).status_code == 401
    app.extensions["database_pool"].close()
