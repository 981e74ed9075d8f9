"""Trends."""

from typing import cast

from flask import Blueprint, Flask, Response, current_app

from lib.auth import public
from lib.db import get_db
from lib.http import copy_response, json_response
from services.trends import Trends

bp = Blueprint("trends", __name__, url_prefix="/api/trends")


def init_app(app: Flask) -> None:
    """Create the process's cache of the trends, and register the route."""
    app.extensions["trends"] = Trends[Response]()
    app.register_blueprint(bp)


@bp.get("")
@public
def index() -> Response:
    """Return the hashtags that most users used within the last day."""
    trends = cast("Trends[Response]", current_app.extensions["trends"])
    return copy_response(trends.run(db=get_db(), render=json_response))
