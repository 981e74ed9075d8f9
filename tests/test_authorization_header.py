"""Malformed `Authorization` headers and signed tokens with invalid claims: 401 or an anonymous response, never 500."""

import json

import pytest
from flask import Flask
from joserfc import jws

from tests.factories import Make
from tests.routes import encoded
from tests.tokens import CLIENT_ID, OURS, bearer, new_key, token, user_pool


def malformed(sub: str) -> list[str]:
    """Return `Authorization` headers that the service rejects."""
    valid = token(sub)
    head, claims, signature = valid.split(".")
    return [
        *(
            "",
            " ",
            "Bearer",
            "Bearer ",
            "Bearer null",
            "Bearer undefined",
            "Bearer a b",
            "garbage",
            "\x7f",
            "Bearer \xff",
        ),
        *(f"Bearer {valid} ", f"Bearer {valid} x")[1:],
        *(valid, f"Basic {valid}", f"Bearer,{valid}", f"Bearer: {valid}", f"Token {valid}", f'Bearer "{valid}"'),
        *(f"Bearer {valid}.", f"Bearer .{valid}", f"Bearer {valid}\t{valid}", f"Bearer {valid},Bearer {valid}"),
        *(f"Bearer {head}.{claims}", f"Bearer {head}.{claims}.", f"Bearer {head}..{signature}", f"Bearer .{claims}."),
        *(
            f"Bearer {head}.{claims}.{signature}.x.y",
            f"Bearer {head}.{claims}.{signature[:-2]}",
            "Bearer ..",
            "Bearer ....",
        ),
        *(f"Bearer {part}.{claims}.{signature}" for part in HEADERS),
        f"Bearer {'x' * 100_000}",
        f"Bearer {'x.' * 50_000}",
    ]


# Token headers (base64url) that the service rejects.
KEY_IDS: list[object] = [None, 1, [], {}, "", "\0", "x" * 10_000, True]
ALGORITHMS: list[object] = [None, 1, [], {}, "", "RS512", "PS256", "none", ["RS256"]]
HEADERS = [
    encoded(part if isinstance(part, bytes) else json.dumps(part).encode())
    for part in (
        *(b"", b"\xff", b"null", b"[]", b'"x"', b"1", b"{}", b"{", b"NaN", b"[" * 50_000, b'{"alg":' * 50_000),
        *({"alg": alg, "kid": "ours"} for alg in ALGORITHMS),
        *({"alg": "RS256", "kid": kid} for kid in KEY_IDS),
        {"alg": "RS256"},
        {"alg": "RS256", "kid": "ours", "crit": ["exp"]},
        {"alg": "RS256", "kid": "ours", "crit": 1},
        {"alg": "RS256", "kid": "ours", "b64": False},
        {"alg": "RS256", "kid": "ours", "zip": "DEF"},
        {"alg": "RS256", "kid": "ours", "jwk": {"kty": "oct", "k": "x"}},
        {"alg": "RS256", "kid": "ours", "jku": "http://127.0.0.1:9/"},
        {"alg": "RS256", "kid": "ours", "x5c": 1, "x5u": 1, "typ": 1, "cty": 1},
    )
]


def test_malformed_authorization_header_is_anonymous(app: Flask, make: Make) -> None:
    client, lin = app.test_client(), make.user()

    for header in malformed(lin.cognito_user_id):
        environ = {"HTTP_AUTHORIZATION": header}
        refused = client.get("/api/message_groups", environ_overrides=environ)
        assert (refused.status_code, refused.json) == (401, ["generic_401"]), header[:80]
        visitor = client.get("/api/activities/home", environ_overrides=environ)
        assert (visitor.status_code, visitor.json) == (200, []), header[:80]


NOT_TEXT: list[object] = [None, 1, [], {}, True, ""]
UNFIT: dict[str, list[object]] = {
    "exp": ["soon", "9999999999", [], {}, None, 0, -1],
    "nbf": ["soon", 99_999_999_999],
    "sub": [*NOT_TEXT, "a\0b", "a b", "é"],
    "iss": [*NOT_TEXT, [user_pool().issuer], f"{user_pool().issuer}/", user_pool().issuer.upper()],
    "client_id": [*NOT_TEXT, [CLIENT_ID], CLIENT_ID.upper()],
    "token_use": [*NOT_TEXT, "id", "ACCESS", ["access"]],
}


def test_signed_token_with_invalid_claim_is_rejected(subtests: pytest.Subtests, app: Flask, make: Make) -> None:
    client, lin = app.test_client(), make.user()

    for claim, values in UNFIT.items():
        with subtests.test(claim):
            for value in values:
                headers = bearer(lin.cognito_user_id, **{claim: value})
                response = client.get("/api/message_groups", headers=headers)
                assert (response.status_code, response.json) == (401, ["generic_401"]), value


NOT_AN_OBJECT = [b"[" * 5_000, b'{"a":' * 2_000, b"[]", b"1", b"", b"\xff"]


def test_signed_payload_other_than_an_object_is_rejected(subtests: pytest.Subtests, app: Flask) -> None:
    for payload in NOT_AN_OBJECT:
        with subtests.test(ascii(payload[:20])):
            text = jws.serialize_compact({"alg": "RS256", "kid": OURS}, payload, new_key(OURS))
            response = app.test_client().get("/api/message_groups", headers={"Authorization": f"Bearer {text}"})

            assert (response.status_code, response.json) == (401, ["generic_401"])


def test_bearer_scheme_is_case_insensitive(subtests: pytest.Subtests, app: Flask, make: Make) -> None:
    user_token = token(make.user().cognito_user_id)

    for scheme in ("Bearer ", "bearer ", "BEARER ", "Bearer    ", "bearer    ", "BEARER    "):
        with subtests.test(scheme):
            headers = {"Authorization": scheme + user_token}
            assert app.test_client().get("/api/message_groups", headers=headers).status_code == 200
