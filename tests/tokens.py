"""Access tokens as Cognito makes them, of a pool whose key is ours."""

import json
import time
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from lib.config import UserPool

REGION = "eu-west-1"
POOL_ID = "eu-west-1_tests"
CLIENT_ID = "testsclient"
# Where nobody listens.
CLOSED = "http://127.0.0.1:9"
# The id of the pool's key.
OURS = "ours"
# Its settings, for programs. Nobody listens for its keys, which keeps the service from starting as little as
# Cognito's being away does.
SETTINGS = {
    "AWS_DEFAULT_REGION": REGION,
    "AWS_COGNITO_USER_POOL_ID": POOL_ID,
    "AWS_COGNITO_USER_POOL_CLIENT_ID": CLIENT_ID,
    "AWS_COGNITO_JWKS_URL": f"{CLOSED}/jwks.json",
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": CLOSED,
}


def pool(jwks_url: str = f"{CLOSED}/jwks.json", endpoint: str = CLOSED) -> dict[str, Any]:
    """Return the user pool of the tests' tokens, as arguments of `Config`."""
    return {
        "region": REGION,
        "user_pool_id": POOL_ID,
        "user_pool_client_id": CLIENT_ID,
        "jwks_url": jwks_url,
        "cognito_endpoint": endpoint,
    }


def user_pool(jwks_url: str = f"{CLOSED}/jwks.json", endpoint: str = CLOSED) -> UserPool:
    """Return the same pool, as `Config` gives it to the service."""
    return UserPool.of(REGION, POOL_ID, CLIENT_ID, jwks_url, endpoint)


@cache
def new_key(key_id: str) -> RSAKey:
    """Return the key of an id."""
    return RSAKey.generate_key(2048, {"kid": key_id, "use": "sig", "alg": "RS256"}, auto_kid=False)


def key_set(*keys: RSAKey) -> str:
    """Return the public keys, as a pool publishes them."""
    return json.dumps(KeySet(list(keys)).as_dict(private=False))


def write_key_set(path: Path, *keys: RSAKey) -> str:
    """Write a key set into a file. Return its URL."""
    path.write_text(key_set(*(keys or (new_key(OURS),))))
    return path.as_uri()


def claims(sub: str, /, **others: Any) -> dict[str, Any]:
    """Return the claims of an access token of an hour, changed by `others`; None removes a claim."""
    now = int(time.time())
    usual = {
        "sub": sub,
        "iss": user_pool().issuer,
        "client_id": CLIENT_ID,
        "token_use": "access",
        "scope": "aws.cognito.signin.user.admin",
        "auth_time": now,
        "iat": now,
        "exp": now + 3600,
        "jti": str(uuid4()),
        "username": sub,
    }
    return {name: value for name, value in (usual | others).items() if value is not None}


def token(sub: str, /, *, key: RSAKey | None = None, header: dict[str, Any] | None = None, **others: Any) -> str:
    """Return an access token for `sub`, signed by our key unless another is given."""
    signing = key or new_key(OURS)
    return jwt.encode({"kid": signing.kid, "alg": "RS256", **(header or {})}, claims(sub, **others), signing)


def bearer(sub: str, /, **others: Any) -> dict[str, str]:
    """Return the header of a request by `sub`."""
    return {"Authorization": f"Bearer {token(sub, **others)}"}
