"""Cruddur's own page: one HTML document for all of its paths, and its assets.

The page's script shows what the path names, and reads it from the API. Only an activity's page differs: links to it
have a preview.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, cast
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app, render_template, request

from lib.auth import public
from lib.config import Config, SignIn
from lib.db import get_db
from lib.errors import PROBLEM_JSON, handle_exception
from lib.exceptions import NotFound
from lib.http import json_response
from services.activity_preview import ActivityPreview, Preview

WEB = Path(__file__).parents[1] / "web"
HTML = "text/html; charset=utf-8"
# The media types of assets by their suffix. `index.html` is a template and no asset.
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# The files of one digest never change.
IMMUTABLE = "public, max-age=31536000, immutable"

bp = Blueprint("pages", __name__, template_folder=str(WEB))
# The pages that query the database. They have rate limits, and show their failures as HTML.
activity_pages = Blueprint("activities", __name__)
bp.register_blueprint(activity_pages)


class Assets(NamedTuple):
    """The page's scripts, style sheets and images: content and media type by name, and a digest of all of them."""

    digest: str
    files: dict[str, tuple[bytes, str]]


def init_app(app: Flask, config: Config) -> None:
    """Keep how users sign in, and register the routes."""
    app.extensions["sign_in"] = config.sign_in
    app.register_blueprint(bp)


@bp.get("/")
@bp.get("/@<handle:handle>")
@bp.get("/search")
@bp.get("/tags/<tag>")
@bp.get("/notifications")
@bp.get("/account")
@bp.get("/messages")
@bp.get("/messages/<uuid:message_group_uuid>")
@bp.get("/messages/@<handle:handle>")
@public
def page(**_path_parts: object) -> Response:
    """Return the page. Its script reads the parts of the path."""
    return html_response()


@activity_pages.get("/@<handle:handle>/status/<uuid:activity_uuid>")
@public
def activity_page(handle: str, activity_uuid: UUID) -> Response:
    """Return the page with the preview of an activity."""
    return html_response(ActivityPreview(get_db()).run(handle=handle, activity_uuid=activity_uuid))


@activity_pages.errorhandler(Exception)
def show_failure(error: Exception) -> Response:
    """Return a failure with the page as its body: the script shows the failure. Programs get `problem+json`."""
    response = handle_exception(error)
    if response.mimetype != PROBLEM_JSON:
        response.set_data(render_page())
        response.content_type = HTML
        response.headers["Content-Security-Policy"] = content_security_policy(get_sign_in())
    return response


@bp.get("/web/<digest>/<name>")
@public
def asset(digest: str, name: str) -> Response:
    """Return an asset. During a rolling deployment the page of another version asks with another digest."""
    if name not in assets().files:
        raise NotFound
    response = json_response(*assets().files[name])
    if digest == assets().digest:
        response.headers["Cache-Control"] = IMMUTABLE
    return response


def html_response(preview: Preview | None = None) -> Response:
    """Return the page for the current path."""
    response = json_response(render_page(preview), HTML)
    response.headers["Content-Security-Policy"] = content_security_policy(get_sign_in())
    return response


def render_page(preview: Preview | None = None) -> bytes:
    """Return the page's HTML for the current path."""
    # Relative to the root, because a proxy may add a prefix to all paths.
    base = "../" * (request.path.count("/") - 1) or "./"
    html = render_template(
        "index.html", base=base, assets=f"web/{assets().digest}", sign_in=get_sign_in(), preview=preview
    )
    return html.encode()


def get_sign_in() -> SignIn:
    """Return how users sign in."""
    return cast("SignIn", current_app.extensions["sign_in"])


def content_security_policy(sign_in: SignIn) -> str:
    """Return the page's policy: own sources, and beside these only the managed login, which issues tokens."""
    connect = " ".join(filter(None, ("'self'", sign_in.domain)))
    return (
        f"default-src 'self'; base-uri 'self'; connect-src {connect}; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


@cache
def assets() -> Assets:
    """Read the assets, once in a process."""
    paths = sorted(path for path in WEB.iterdir() if path.suffix in CONTENT_TYPES)
    files = {path.name: (path.read_bytes(), CONTENT_TYPES[path.suffix]) for path in paths}
    digest = sha256()
    for name, (content, _) in files.items():
        # Digests of one length each, so that no byte can move from a name or file to the next.
        digest.update(sha256(name.encode()).digest() + sha256(content).digest())
    return Assets(digest.hexdigest()[:16], files)
