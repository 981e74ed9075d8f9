"""People."""

from flask import Blueprint, Response

from lib.http import db, send
from lib.sign_in import public
from services.users_short import UsersShort

bp = Blueprint("users", __name__, url_prefix="/api/users")


@bp.get("/@<handle:handle>/short")
@public
def short(handle: str) -> Response:
    """A person in short."""
    return send(UsersShort(db()).run(handle=handle))
