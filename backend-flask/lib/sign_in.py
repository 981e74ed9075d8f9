"""Who may call a route: one word at the route says it, and without a word only who is signed in.

The word is checked before the request is looked at any further.
"""

import re
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, cast

from flask import current_app

from lib.asked import Asked, asked
from lib.cognito import Cognito, Token
from lib.errors import Unauthorized, Unavailable
from lib.observing import observed

View = TypeVar("View", bound=Callable[..., Any])

ATTRIBUTE = "sign_in"


class SignIn(Enum):
    """Whether a route looks at the token, and what it makes of none."""

    NO = "no"
    OPTIONAL = "optional"
    REQUIRED = "required"


def public(view: View) -> View:
    """Everybody is answered the same, and no token looked at."""
    setattr(view, ATTRIBUTE, SignIn.NO)
    return view


def optional(view: View) -> View:
    """Without a token that holds, one is a visitor."""
    setattr(view, ATTRIBUTE, SignIn.OPTIONAL)
    return view


def required(view: View) -> View:
    """Without a token that holds, the answer is 401."""
    setattr(view, ATTRIBUTE, SignIn.REQUIRED)
    return view


def needs(endpoint: str | None) -> SignIn:
    """What the route `endpoint` asks for."""
    if endpoint is None:
        # An unknown path or method, which has its own answer.
        return SignIn.NO
    return cast(SignIn, getattr(current_app.view_functions[endpoint], ATTRIBUTE, SignIn.REQUIRED))


def check_sign_in(request: Asked) -> None:
    """Verify the request's token where the route wants one. Raises `Unauthorized`, `Unavailable`."""
    request.sign_in = needed = needs(request.endpoint)
    if needed is SignIn.NO or request.method == "OPTIONS":
        return
    begun = time.perf_counter()
    try:
        request.token = cast(Cognito, current_app.extensions["cognito"]).verify(bearer_token(request))
    except (Unauthorized, Unavailable):
        if needed is SignIn.REQUIRED:
            raise
    finally:
        current = observed()
        if current is not None:
            current.auth += time.perf_counter() - begun


def bearer_token(request: Asked) -> str:
    """The token in the `Authorization` header (RFC 6750). Raises `Unauthorized`."""
    bearer = re.fullmatch(r"(?i:bearer) +(\S+)", request.headers.get("Authorization", ""), re.ASCII)
    if bearer is None:
        raise Unauthorized
    return bearer[1]


def token() -> Token | None:
    """The token of whoever is signed in; None for a visitor, and where none is looked at."""
    return asked().token


def is_personal(request: Asked) -> bool:
    """Whether the answer belongs to the one person who is signed in."""
    return request.sign_in is SignIn.REQUIRED or request.token is not None
