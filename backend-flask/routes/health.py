"""Whether the process answers."""

from flask import Blueprint, Response

from lib.http import send

bp = Blueprint("health", __name__, url_prefix="/api")


@bp.get("/health-check")
def health_check() -> Response:
    """That it answers. It asks no database."""
    return send(b'{"success": true, "ver": 1}')
