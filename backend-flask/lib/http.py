"""What routes need of HTTP: the request's parts, read strictly, and the answer."""

import re
from hashlib import sha256
from typing import cast
from urllib.parse import parse_qsl, urlencode

from flask import Response, current_app, g, request
from werkzeug.routing import BaseConverter

from lib.body import read_bytes
from lib.db import Db
from lib.errors import BadRequest
from lib.idempotency import Attempt, Replay
from lib.paging import FIRST_PAGE, Cursor, Json, Listing, Page
from lib.sign_in import is_optional, is_personal

MAX_LIMIT = 100


class HandleConverter(BaseConverter):
    """A handle in a path. What is none makes the path unknown."""

    regex = "[A-Za-z0-9_]{1,30}"


def db() -> Db:
    """The application's database."""
    return cast(Db, current_app.extensions["db"])


def read_arguments() -> None:
    """Read the query once a request, strictly, also where nothing asks for it. Raises `BadRequest`."""
    try:
        pairs = parse_qsl(request.query_string.decode(), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise BadRequest("json_invalid") from error
    if any("\0" in part for pair in pairs for part in pair):
        raise BadRequest("json_invalid")
    g.arguments = dict(reversed(pairs))


def arguments() -> dict[str, str]:
    """The query's parameters, of a repeated one the first."""
    return cast(dict[str, str], g.arguments)


def page() -> Page:
    """The page that `cursor` and `limit` ask for. Raises `BadRequest`."""
    given = arguments()
    limit = given.get("limit", str(FIRST_PAGE.limit))
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise BadRequest("limit_invalid")
    return Page(int(limit), Cursor.parse(given["cursor"]) if "cursor" in given else None)


def attempt() -> Attempt | None:
    """The POST as one that may come again; None without an `Idempotency-Key`. Raises `BadRequest`."""
    key = request.headers.get("Idempotency-Key")
    # A PUT may be repeated as it is.
    if key is None or request.method != "POST":
        return None
    if not re.fullmatch("[ -~]{1,255}", key):
        raise BadRequest("idempotency_key_invalid")
    return Attempt(key, sha256(request.path.encode() + b"\0" + read_bytes()).digest())


def send(answer: Json | Listing | Replay) -> Response:
    """The JSON as it came; for a listing the `Link` to its neighbours (RFC 8288), for a replay the sign of one.

    To a read whose client has this answer already it is 304 (RFC 9110, `If-None-Match`).
    """
    response = Response(answer if isinstance(answer, bytes) else answer.json, mimetype="application/json")
    if isinstance(answer, Listing):
        neighbours = {"next": answer.next, "prev": answer.prev}
        links = [f'<{request.path}?{leading_to(cursor)}>; rel="{rel}"' for rel, cursor in neighbours.items() if cursor]
        if links:
            response.headers["Link"] = ", ".join(links)
    if isinstance(answer, Replay):
        response.headers["Idempotency-Replayed"] = "true"
    if request.method in {"GET", "HEAD"}:
        response.add_etag()
        # Not by `make_conditional`: what it makes of `If-Match` and of dates is for files.
        if request.if_none_match.contains_weak(response.get_etag()[0] or ""):
            response.status_code = 304
    return response


def forbid_caching(response: Response) -> Response:
    """Let caches ask each time for what everybody may see, and keep nothing else."""
    is_read = request.method in {"GET", "HEAD"}
    is_for_everybody = is_read and response.status_code in {200, 304} and not is_personal()
    response.headers.setdefault("Cache-Control", "no-cache" if is_for_everybody else "private, no-store")
    if is_read and is_optional():
        # Whoever is signed in is not to get what a cache has kept of a visitor's.
        response.vary.add("Authorization")
    return response


def leading_to(cursor: Cursor) -> str:
    """This request's query string, with what a feed is asked by and `cursor`."""
    given = arguments()
    kept = [(name, given[name]) for name in ("term", "limit") if name in given]
    return urlencode([*kept, ("cursor", str(cursor))])
