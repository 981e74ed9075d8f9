"""API documentation: the OpenAPI document, and Swagger UI.

Every link is relative to the page, because a proxy may remove a prefix of the paths.
"""

import json
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml
from flask import Blueprint, Response, request

from lib.auth import public
from lib.exceptions import NotFound
from lib.http import json_response

bp = Blueprint("docs", __name__)

BACKEND = Path(__file__).parents[1]
PAGES = BACKEND / "docs"
SWAGGER_UI = files("flask_swagger_ui") / "dist"
# The files of the Swagger UI page, and their media types.
ASSETS: dict[str, tuple[Traversable, str]] = {
    "start.js": (PAGES / "start.js", "text/javascript; charset=utf-8"),
    "swagger-ui-bundle.js": (SWAGGER_UI / "swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "swagger-ui.css": (SWAGGER_UI / "swagger-ui.css", "text/css; charset=utf-8"),
    "favicon-32x32.png": (SWAGGER_UI / "favicon-32x32.png", "image/png"),
}
# The page needs no other host.
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src 'self' data:; "
    "script-src 'self'; style-src 'self'; connect-src 'self'"
)


@bp.get("/openapi.json")
@public
def document() -> Response:
    """Return the OpenAPI document as JSON."""
    return json_response(openapi())


@bp.get("/docs", strict_slashes=False)
@public
def page() -> Response:
    """Return the Swagger UI page. `/docs/` redirects to it: its links are relative to a path without a slash."""
    if request.path.endswith("/"):
        return Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": "../docs"})
    response = send_file("text/html; charset=utf-8", PAGES / "reference.html")
    response.headers["Content-Security-Policy"] = POLICY
    return response


@bp.get("/docs/<name>")
@public
def asset(name: str) -> Response:
    """Return a file of the Swagger UI page."""
    if name not in ASSETS:
        raise NotFound
    file, content_type = ASSETS[name]
    return send_file(content_type, file)


@cache
def openapi() -> bytes:
    """Return `openapi.yaml` as JSON, converting it once."""
    text = (BACKEND / "openapi.yaml").read_bytes()
    return json.dumps(yaml.load(text, Loader=yaml.CSafeLoader), ensure_ascii=False).encode()


def send_file(content_type: str, file: Traversable) -> Response:
    """Return a file with its media type. Every response keeps browsers from guessing another, by `nosniff`."""
    return json_response(file.read_bytes(), content_type)
