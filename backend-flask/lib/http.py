"""What routes need of HTTP: the request's parts, read strictly, and the answer."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import cast
from urllib.parse import parse_qsl, urlencode

from flask import current_app
from werkzeug.http import generate_etag, quote_etag
from werkzeug.routing import BaseConverter

from lib.asked import Asked, asked
from lib.body import read_bytes
from lib.db import Db
from lib.errors import BadRequest
from lib.idempotency import Attempt, Replay
from lib.paging import FIRST_PAGE, Cursor, Json, Listing, Page
from lib.sign_in import SignIn, is_personal
from lib.wsgi import Answer

JSON = "application/json"
READS = {"GET", "HEAD"}
# What caches are told (RFC 9111).
ASK_EACH_TIME, KEEP_NOTHING = "no-cache", "private, no-store"
MAX_LIMIT = 100


class HandleConverter(BaseConverter):
    """A handle in a path. What is none makes the path unknown."""

    regex = "[A-Za-z0-9_]{1,30}"


def db() -> Db:
    """The application's database."""
    return cast(Db, current_app.extensions["db"])


def read_arguments(request: Asked) -> None:
    """Read the query once a request, strictly, also where nothing asks for it. Raises `BadRequest`."""
    try:
        query = request.query_string.decode()
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict") if query else []
    except ValueError as error:
        raise BadRequest("json_invalid") from error
    if any("\0" in part for pair in pairs for part in pair):
        raise BadRequest("json_invalid")
    request.arguments = dict(reversed(pairs))


def arguments() -> dict[str, str]:
    """The query's parameters, of a repeated one the first."""
    return asked().arguments


def page() -> Page:
    """The page that `cursor` and `limit` ask for. Raises `BadRequest`."""
    given = arguments()
    if not given:
        return FIRST_PAGE
    limit = given.get("limit", str(FIRST_PAGE.limit))
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise BadRequest("limit_invalid")
    return Page(int(limit), Cursor.parse(given["cursor"]) if "cursor" in given else None)


def attempt() -> Attempt | None:
    """The POST as one that may come again; None without an `Idempotency-Key`. Raises `BadRequest`."""
    request = asked()
    key = request.headers.get("Idempotency-Key")
    # A PUT may be repeated as it is.
    if key is None or request.method != "POST":
        return None
    if not re.fullmatch("[ -~]{1,255}", key):
        raise BadRequest("idempotency_key_invalid")
    return Attempt(key, sha256(request.path.encode() + b"\0" + read_bytes()).digest())


def send(answer: Json | Listing | Replay, content_type: str = JSON) -> Answer:
    """The JSON as it came; for a listing the `Link` to its neighbours, for a replay the sign of one.

    To a read whose client has this answer already it is 304 (RFC 9110, `If-None-Match`).
    """
    request = asked()
    body = answer if isinstance(answer, bytes) else answer.json
    headers = {}
    if isinstance(answer, Listing):
        headers = link(request.path, request.arguments, answer)
    elif isinstance(answer, Replay):
        headers = {"Idempotency-Replayed": "true"}
    if request.method in READS:
        tag = generate_etag(body)
        headers["ETag"] = quote_etag(tag)
        # Not by werkzeug's `make_conditional`: what it makes of `If-Match` and of dates is for files.
        if "HTTP_IF_NONE_MATCH" in request.environ and request.if_none_match.contains_weak(tag):
            return Answer(status=304, headers=headers)
    headers["Content-Type"] = content_type
    return Answer(body, headers=headers)


def link(path: str, given: Mapping[str, str], listing: Listing) -> dict[str, str]:
    """The header `Link` (RFC 8288) to the listing's neighbours; with what the feed at `path` was asked by."""
    kept = {name: given[name] for name in ("term", "limit") if name in given}
    # A cursor needs no quoting.
    query = f"{urlencode(kept)}&cursor=" if kept else "cursor="
    links = [
        f'<{path}?{query}{cursor}>; rel="{rel}"'
        for rel, cursor in (("next", listing.next), ("prev", listing.prev))
        if cursor
    ]
    return {"Link": ", ".join(links)} if links else {}


def forbid_caching(request: Asked, answer: Answer) -> None:
    """Let caches ask each time for what everybody may see, and keep nothing else."""
    is_read = request.method in READS
    is_for_everybody = is_read and answer.status_code in {200, 304} and not is_personal(request)
    answer.headers.add("Cache-Control", ASK_EACH_TIME if is_for_everybody else KEEP_NOTHING)
    if is_read and request.sign_in is SignIn.OPTIONAL:
        # Whoever is signed in is not to get what a cache has kept of a visitor's.
        answer.headers.add("Vary", "Authorization")
