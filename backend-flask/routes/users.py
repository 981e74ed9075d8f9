"""Users."""

from flask import Blueprint, Response

from lib.auth import public
from lib.db import get_db
from lib.http import json_response
from services.users_short import UsersShort

bp = Blueprint("users", __name__, url_prefix="/api/users")


@bp.get("/@<handle:handle>/short")
@public
def short(handle: str) -> Response:
    """Return a user's uuid, handle and display name."""
    return json_response(UsersShort(get_db()).run(handle=handle))
