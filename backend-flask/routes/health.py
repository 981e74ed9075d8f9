"""How the service is: for load balancers, and for whoever restarts it."""

from typing import cast

from flask import Blueprint, Response, current_app

from lib.http import send
from lib.pool import Lender
from lib.readiness import check_ready
from lib.sign_in import public

bp = Blueprint("health", __name__)


@bp.get("/api/health-check")
@public
def health_check() -> Response:
    """That it answers. It asks no database."""
    return send(b'{"success": true, "ver": 1}')


@bp.get("/livez")
@public
def live() -> Response:
    """That the process answers: one that does not is to be started anew."""
    return send(b'{"success": true}')


@bp.get("/readyz")
@public
def ready() -> Response:
    """That requests may come here; with what they need, which is not so for as long as this is 503."""
    check_ready(cast(Lender, current_app.extensions["lender"]))
    return send(b'{"success": true}')
