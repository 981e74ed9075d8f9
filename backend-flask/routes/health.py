"""Whether the process answers."""

from flask import Blueprint, Response

from lib.http import send
from lib.sign_in import public

bp = Blueprint("health", __name__, url_prefix="/api")


@bp.get("/health-check")
@public
def health_check() -> Response:
    """That it answers. It asks no database."""
    return send(b'{"success": true, "ver": 1}')
