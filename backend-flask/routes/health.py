"""Health checks for load balancers and process supervisors."""

from flask import Blueprint, Response

from lib.auth import public
from lib.db import get_database_pool
from lib.http import json_response
from lib.readiness import check_ready

bp = Blueprint("health", __name__)


@bp.get("/api/health-check")
@public
def health_check() -> Response:
    """Return that the service answers, without asking the database."""
    return json_response(b'{"success": true, "ver": 1}')


@bp.get("/livez")
@public
def live() -> Response:
    """Return that the process answers (liveness). A supervisor restarts a process that does not."""
    return json_response(b'{"success": true}')


@bp.get("/readyz")
@public
def ready() -> Response:
    """Return that the instance is ready for requests (readiness), or 503 with the reasons why it is not."""
    check_ready(get_database_pool())
    return json_response(b'{"success": true}')
