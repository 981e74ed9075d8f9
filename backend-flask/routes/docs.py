"""What there is to call: the OpenAPI document, and a page to read and try it on."""

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml
from flask import Blueprint, Response

from lib.auth import public
from lib.exceptions import NotFound
from lib.http import json_response

bp = Blueprint("docs", __name__)

BACKEND = Path(__file__).parents[1]
PAGE = BACKEND / "docs" / "index.html"
SWAGGER_UI = files("flask_swagger_ui") / "dist"
# What the page is made of, and of what type it is.
ASSETS: dict[str, tuple[Traversable, str]] = {
    "start.js": (BACKEND / "docs" / "start.js", "text/javascript; charset=utf-8"),
    "swagger-ui-bundle.js": (SWAGGER_UI / "swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "swagger-ui.css": (SWAGGER_UI / "swagger-ui.css", "text/css; charset=utf-8"),
    "favicon-32x32.png": (SWAGGER_UI / "favicon-32x32.png", "image/png"),
}
# The page needs nobody but us.
POLICY = "; ".join(
    [
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'"),
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
    ]
)


@bp.get("/openapi.json")
@public
def document() -> Response:
    """The OpenAPI document."""
    return json_response(openapi())


@bp.get("/docs")
@public
def page() -> Response:
    """The document, to read and to try."""
    response = send_file("text/html; charset=utf-8", PAGE)
    response.headers["Content-Security-Policy"] = POLICY
    return response


@bp.get("/docs/<name>")
@public
def asset(name: str) -> Response:
    """A part of the page."""
    if name not in ASSETS:
        raise NotFound
    file, content_type = ASSETS[name]
    return send_file(content_type, file)


@cache
def openapi() -> bytes:
    """The document as JSON, made once of `openapi.yaml`."""
    text = (BACKEND / "openapi.yaml").read_bytes()
    return json.dumps(yaml.load(text, Loader=yaml.CSafeLoader), ensure_ascii=False).encode()


def send_file(content_type: str, file: Traversable) -> Response:
    """The file as a browser is to take it, which is not to guess."""
    response = json_response(file.read_bytes(), content_type)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
