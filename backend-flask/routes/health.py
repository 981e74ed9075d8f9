"""How the service is: for load balancers, and for whoever restarts it."""

from flask import Blueprint, Response

from lib.auth import public
from lib.db import get_database_pool
from lib.http import json_response
from lib.readiness import check_ready

bp = Blueprint("health", __name__)


@bp.get("/api/health-check")
@public
def health_check() -> Response:
    """That it answers. It asks no database."""
    return json_response(b'{"success": true, "ver": 1}')


@bp.get("/livez")
@public
def live() -> Response:
    """That the process answers: one that does not is to be started anew."""
    return json_response(b'{"success": true}')


@bp.get("/readyz")
@public
def ready() -> Response:
    """That requests may come here; with what they need, which is not so for as long as this is 503."""
    check_ready(get_database_pool())
    return json_response(b'{"success": true}')
