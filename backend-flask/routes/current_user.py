"""The authenticated user of a request, for views with `login_required`."""

from collections.abc import Callable
from typing import TypeVar

from flask import g

from lib import spans
from lib.auth import get_cognito
from lib.db import get_db
from lib.exceptions import NotFound, Unauthorized
from services.get_or_create_user import GetOrCreateUser, User

Result = TypeVar("Result")


def current_user() -> User:
    """Return the current user, reading it once in a request. Raises `Unauthorized`, `UpstreamUnavailable`."""
    if "user" not in g:
        if g.token is None:
            raise Unauthorized
        g.user = GetOrCreateUser(get_db(), get_cognito()).run(token=g.token)
        spans.set_attribute("app.user_id", str(g.user.uuid))
    user: User = g.user
    return user


def for_current_user(use_case: Callable[[str], Result]) -> Result:
    """Return the result of `use_case`, whose statements find the current user by the claim `sub`, its argument.

    The use case raises `NotFound` for a user without a row, and for a missing activity. So it runs again after
    `current_user`, which creates a missing row. Raises `Unauthorized`, `UpstreamUnavailable`.
    """
    if g.token is None:
        raise Unauthorized
    db = get_db()
    try:
        try:
            return use_case(g.token.sub)
        except NotFound:
            return use_case(current_user().sub)
    finally:
        if db.user_uuid is not None:
            spans.set_attribute("app.user_id", str(db.user_uuid))


def reader() -> str | None:
    """Return the claim `sub` of the current token for a view with `login_optional`, `None` for an anonymous request."""
    return g.token.sub if g.token else None
