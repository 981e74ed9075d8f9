"""What routes need of HTTP: the request's parts, read strictly, and the answer."""

import re
from typing import cast
from urllib.parse import parse_qsl, urlencode

from flask import Response, current_app, g, request
from werkzeug.routing import BaseConverter

from lib.db import Db
from lib.errors import BadRequest
from lib.paging import Cursor, Json, Listing, Page

LIMIT = 20
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
    limit = given.get("limit", str(LIMIT))
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise BadRequest("limit_invalid")
    return Page(int(limit), Cursor.parse(given["cursor"]) if "cursor" in given else None)


def send(answer: Json | Listing) -> Response:
    """The JSON as it came, and for a listing the `Link` to its neighbours (RFC 8288)."""
    if isinstance(answer, bytes):
        return Response(answer, mimetype="application/json")
    response = Response(answer.json, mimetype="application/json")
    neighbours = {"next": answer.next, "prev": answer.prev}
    links = [f'<{request.path}?{leading_to(cursor)}>; rel="{rel}"' for rel, cursor in neighbours.items() if cursor]
    if links:
        response.headers["Link"] = ", ".join(links)
    return response


def leading_to(cursor: Cursor) -> str:
    """This request's query string, with what a feed is asked by and `cursor`."""
    given = arguments()
    kept = [(name, given[name]) for name in ("term", "limit") if name in given]
    return urlencode([*kept, ("cursor", str(cursor))])
