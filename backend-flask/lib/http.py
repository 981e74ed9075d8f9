"""What routes need of HTTP: the request's parts, read strictly, and the response."""

import re
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode

from flask import Flask, Request, Response, g, request
from werkzeug.exceptions import BadRequest as MalformedRequest
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.http import generate_etag, quote_etag
from werkzeug.routing import BaseConverter

from lib.auth import AuthPolicy, is_user_specific
from lib.body import MAX_BYTES, drain_body, has_body, raw_body
from lib.draining import is_draining
from lib.exceptions import BadRequest, NotFound
from lib.idempotency import IdempotencyKey, ReplayedResponse
from lib.local_proxy import unwrap
from lib.pagination import FIRST_PAGE, Cursor, JSONBytes, Page, PageRequest

JSON = "application/json"
READS = {"GET", "HEAD"}
# On the response to a request that was done before.
REPLAYED = "Idempotency-Replayed"
# Cache-Control (RFC 9111).
NO_CACHE, NO_STORE = "no-cache", "private, no-store"
MAX_LIMIT = 100
# RFC 9110, section 7.2: a host as RFC 3986 writes it, or nothing, and perhaps a port.
# Without the comma, by which the server joins two headers.
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(:[0-9]*)?")
# Server: otherwise granian names itself.
FIXED_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("Server", "cruddur"))


class HandleConverter(BaseConverter):
    """URL converter for handles. A malformed handle gives 404."""

    regex = "[A-Za-z0-9_]{1,30}"


def init_app(app: Flask) -> None:
    """Check each request's parts before its view, and complete each response."""
    # Bounds what werkzeug reads; one byte more than the limit, so that lib/body.py sees a chunked body that is longer.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES + 1
    # `//api/activities/home` is an unknown path, and no redirect, which a preflight would not follow.
    app.url_map.merge_slashes = False
    app.url_map.converters["handle"] = HandleConverter
    app.before_request(check_request)
    app.after_request(complete_response)


def check_request() -> None:
    """Read the query into `g.args`, also where no view asks for it. Raises `BadRequest`, `MalformedRequest`."""
    environ = request.environ
    if environ["PATH_INFO"].startswith("//"):
        # werkzeug strips all but one.
        raise NotFound
    host = environ.get("HTTP_HOST", "")
    # RFC 9112, section 3.2: HTTP/1.1 has exactly one.
    if HOST.fullmatch(host) is None or (not host and environ["SERVER_PROTOCOL"] == "HTTP/1.1"):
        raise MalformedRequest
    # RFC 9110, section 9.1: `get` is not GET. werkzeug takes it for GET.
    if request.url_rule and not environ["REQUEST_METHOD"].isupper():
        raise MethodNotAllowed(list(request.url_rule.methods or ()))
    g.args = query_args(request) if environ.get("QUERY_STRING") else {}


def query_args(request: Request) -> dict[str, str]:
    """Return the query's parameters, of a repeated one the first. Raises `BadRequest`."""
    try:
        pairs = parse_qsl(request.query_string.decode(), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise BadRequest("json_invalid") from error
    if any("\0" in part for pair in pairs for part in pair):
        raise BadRequest("json_invalid")
    return dict(reversed(pairs))


def page_request(args: Mapping[str, str]) -> PageRequest:
    """Return the page that `cursor` and `limit` ask for. Raises `BadRequest`."""
    if not args:
        return FIRST_PAGE
    limit = args.get("limit", str(FIRST_PAGE.limit))
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise BadRequest("limit_invalid")
    return PageRequest(int(limit), Cursor.parse(args["cursor"]) if "cursor" in args else None)


def idempotency_key(request: Request) -> IdempotencyKey | None:
    """Return the key of a POST that may come again, with its fingerprint; `None` without one. Raises `BadRequest`."""
    key = request.headers.get("Idempotency-Key")
    # A PUT may be repeated as it is.
    if key is None or request.method != "POST":
        return None
    if not re.fullmatch("[ -~]{1,255}", key):
        raise BadRequest("idempotency_key_invalid")
    return IdempotencyKey(key, sha256(request.path.encode() + b"\0" + raw_body(request)).digest())


def json_response(body: JSONBytes | Page | ReplayedResponse, content_type: str = JSON) -> Response:
    """Return the JSON as it came; for a listing with the `Link` to its neighbours, for a replay with its sign."""
    json = body if isinstance(body, bytes) else body.json
    headers, current = [("Content-Type", content_type)], unwrap(request)
    if isinstance(body, Page):
        links = link_header(g.args, body)
        if links:
            headers.append(("Link", links))
    elif isinstance(body, ReplayedResponse):
        headers.append((REPLAYED, "true"))
    if current.method in READS:
        headers.append(("ETag", quote_etag(generate_etag(json))))
    return Response(json, headers=headers)


def copy_response(response: Response) -> Response:
    """Return a response with the same body, status and headers, to which hooks may add more."""
    return Response(response.response, response.status, response.headers.copy())


def link_header(args: Mapping[str, str], page: Page) -> str:
    """Return the header `Link` (RFC 8288) to the listing's neighbours, with the parameters that made it; or "".

    The references are queries alone (RFC 3986, section 5.2), which clients resolve against the URL that they asked:
    a proxy may have taken a prefix off its path.
    """
    kept = {name: args[name] for name in ("term", "limit") if name in args}
    # A cursor needs no quoting.
    query = f"{urlencode(kept)}&cursor=" if kept else "cursor="
    neighbours = (("next", page.next), ("prev", page.prev))
    return ", ".join(f'<?{query}{cursor}>; rel="{rel}"' for rel, cursor in neighbours if cursor)


def complete_response(response: Response) -> Response:
    """Add what every response needs, whether a view made it or an error handler."""
    environ, state, headers = request.environ, unwrap(g), response.headers
    for name, value in FIXED_HEADERS:
        headers[name] = value
    # Neither is there when a hook before ours has answered.
    policy, token = state.get("auth_policy"), state.get("token")
    is_read = environ["REQUEST_METHOD"] in READS
    if is_read and "HTTP_IF_NONE_MATCH" in environ:
        answer_not_modified(response)
    set_cache_control(response, is_read=is_read, is_personal=is_user_specific(policy, token))
    if is_read and policy is AuthPolicy.OPTIONAL:
        # An authenticated client must not get a cache's anonymous response.
        response.headers.add("Vary", "Authorization")
    # An unread body would be parsed as the next request. Only an authenticated client is waited for.
    has_unread_body = has_body(environ) and not (token and drain_body(request))
    if has_unread_body or is_draining():
        # The server reads this one (RFC 9112, section 9.6) and closes the connection.
        response.headers["Connection"] = "close"
    return response


def answer_not_modified(response: Response) -> None:
    """Make a response that the client has already a 304 (RFC 9110, `If-None-Match`).

    werkzeug's `make_conditional` also evaluates `If-Match`, ranges and dates, which are for files.
    """
    tag, _ = response.get_etag()
    if tag is not None and request.if_none_match.contains_weak(tag):
        response.status_code = 304
        response.set_data(b"")
        del response.headers["Content-Type"]


def set_cache_control(response: Response, *, is_read: bool, is_personal: bool) -> None:
    """Let caches revalidate what is the same for everyone, and store nothing else."""
    is_for_everyone = is_read and not is_personal and response.status_code in {200, 304}
    response.headers.add("Cache-Control", NO_CACHE if is_for_everyone else NO_STORE)
