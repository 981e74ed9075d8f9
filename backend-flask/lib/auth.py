"""Authentication: a view's decorator is its policy. A view without a decorator requires a token.

The service verifies the token before it reads any other part of the request.
"""

import re
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, cast

from flask import Flask, Request, current_app, g, request

from lib.cognito import Cognito, Token
from lib.config import UserPool
from lib.exceptions import Unauthorized, UpstreamUnavailable
from lib.local_proxy import unwrap

View = TypeVar("View", bound=Callable[..., Any])

ATTRIBUTE = "auth_policy"
# The `Authorization` of a client without a token (docs/contract.md).
NO_TOKEN = {"", "Bearer null"}


class AuthPolicy(Enum):
    """A view's policy for requests with and without a valid token."""

    PUBLIC = "no"
    OPTIONAL = "optional"
    REQUIRED = "required"


def public(view: View) -> View:
    """Answer all requests alike, and ignore tokens."""
    setattr(view, ATTRIBUTE, AuthPolicy.PUBLIC)
    return view


def login_optional(view: View) -> View:
    """Answer a request without a valid token as anonymous."""
    setattr(view, ATTRIBUTE, AuthPolicy.OPTIONAL)
    return view


def login_required(view: View) -> View:
    """Answer a request without a valid token with 401."""
    setattr(view, ATTRIBUTE, AuthPolicy.REQUIRED)
    return view


def init_app(app: Flask, user_pool: UserPool) -> None:
    """Verify tokens of `user_pool` before each request."""
    app.extensions["cognito"] = Cognito(user_pool)
    app.before_request(load_token)


def policy_for(endpoint: str | None) -> AuthPolicy:
    """Return the policy of the view `endpoint`."""
    if endpoint is None:
        # An unknown path or method gets 404 or 405, with or without a token.
        return AuthPolicy.PUBLIC
    return cast(AuthPolicy, getattr(current_app.view_functions[endpoint], ATTRIBUTE, AuthPolicy.REQUIRED))


def load_token() -> None:
    """Verify the token unless the view is public, and set `g.token`. Raises `Unauthorized`, `UpstreamUnavailable`."""
    current, state = unwrap(request), unwrap(g)
    state.token = None
    state.auth_policy = policy = policy_for(current.endpoint)
    if policy is AuthPolicy.PUBLIC or current.method == "OPTIONS":
        return
    if policy is AuthPolicy.OPTIONAL and not sends_token(current):
        return
    start = time.perf_counter()
    try:
        state.token = get_cognito().verify(bearer_token(current))
    except (Unauthorized, UpstreamUnavailable):
        if policy is AuthPolicy.REQUIRED:
            raise
    finally:
        state.auth_seconds = time.perf_counter() - start


def get_cognito() -> Cognito:
    """Return the current application's client of the user pool."""
    return cast(Cognito, current_app.extensions["cognito"])


def bearer_token(request: Request) -> str:
    """Return the token in the `Authorization` header (RFC 6750). Raises `Unauthorized`."""
    bearer = re.fullmatch(r"(?i:bearer) +(\S+)", request.headers.get("Authorization", ""), re.ASCII)
    if bearer is None:
        raise Unauthorized
    return bearer[1]


def sends_token(request: Request) -> bool:
    """Return whether a request has an `Authorization` other than that of anonymous clients, valid or not."""
    return request.environ.get("HTTP_AUTHORIZATION", "") not in NO_TOKEN


def is_user_specific(policy: AuthPolicy | None, token: Token | None) -> bool:
    """Return whether a response belongs to one user, by the policy of its view and the request's token."""
    return policy is AuthPolicy.REQUIRED or token is not None
