"""Who is signed in, for the routes that are marked `required`."""

from typing import cast

from flask import current_app

from lib.cognito import Cognito
from lib.errors import Unauthorized
from lib.http import db
from lib.sign_in import token
from lib.tracing import set_attribute
from services.sign_in import SignIn, User


def viewer() -> User:
    """Whoever is signed in. Raises `Unauthorized`, `Unavailable`."""
    signed_in = token()
    if signed_in is None:
        raise Unauthorized
    user = SignIn(db(), cast(Cognito, current_app.extensions["cognito"])).run(token=signed_in)
    set_attribute("app.user_id", str(user.uuid))
    return user
