"""The authenticated user of a request, for views with `login_required`."""

from flask import g

from lib import spans
from lib.auth import get_cognito
from lib.db import get_db
from lib.exceptions import Unauthorized
from services.get_or_create_user import GetOrCreateUser, User


def current_user() -> User:
    """Return the current user, reading it once in a request. Raises `Unauthorized`, `UpstreamUnavailable`."""
    if "user" not in g:
        if g.token is None:
            raise Unauthorized
        g.user = GetOrCreateUser(get_db(), get_cognito()).run(token=g.token)
        spans.set_attribute("app.user_id", str(g.user.uuid))
    user: User = g.user
    return user


def reader() -> str | None:
    """Return the claim `sub` of the current token for a view with `login_optional`, `None` for an anonymous request."""
    return g.token.sub if g.token else None
