"""HTTP for routes: strict reading of a request's parts, and responses."""

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
# The header of a replayed response.
REPLAYED = "Idempotency-Replayed"
# Cache-Control (RFC 9111).
NO_CACHE, NO_STORE = "no-cache", "private, no-store"
MAX_LIMIT = 100
# RFC 9110, section 7.2: a host in the syntax of RFC 3986, or nothing, and an optional port.
# The comma is not allowed, because the server joins two Host headers with it.
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(:[0-9]*)?")
FIXED_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    # Without it granian would add its own name.
    ("Server", "cruddur"),
    # Caches must not mix responses with and without CORS headers. flask-cors adds it for allowed origins only.
    ("Vary", "Origin"),
)


class HandleConverter(BaseConverter):
    """URL converter for handles. A malformed handle gives 404."""

    regex = "[A-Za-z0-9_]{1,30}"


def init_app(app: Flask) -> None:
    """Check each request's parts before its view, and complete each response."""
    # The bound of werkzeug's reading: one byte more than the limit, so that lib/body.py sees a longer chunked body.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES + 1
    # `//api/activities/home` is an unknown path. A redirect would not help: preflights do not follow it.
    app.url_map.merge_slashes = False
    app.url_map.converters["handle"] = HandleConverter
    app.before_request(check_request)
    app.after_request(complete_response)


def check_request() -> None:
    """Check path, host, method and query, and set `g.args`. Raises `BadRequest`, `NotFound` and werkzeug's errors."""
    current = unwrap(request)
    environ, rule = current.environ, current.url_rule
    if environ["PATH_INFO"].startswith("//"):
        # werkzeug would strip all slashes but one.
        raise NotFound
    host = environ.get("HTTP_HOST", "")
    # RFC 9112, section 3.2: HTTP/1.1 has exactly one.
    if HOST.fullmatch(host) is None or (not host and environ["SERVER_PROTOCOL"] == "HTTP/1.1"):
        raise MalformedRequest
    # RFC 9110, section 9.1: methods are case-sensitive. werkzeug would accept `get` as GET.
    if rule and not environ["REQUEST_METHOD"].isupper():
        raise MethodNotAllowed(list(rule.methods or ()))
    g.args = query_args(current) if environ.get("QUERY_STRING") else {}


def query_args(request: Request) -> dict[str, str]:
    """Return the query's parameters. Of a repeated parameter the first value counts. Raises `BadRequest`."""
    try:
        pairs = parse_qsl(request.query_string.decode(), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise BadRequest("json_invalid") from error
    if any("\0" in part for pair in pairs for part in pair):
        raise BadRequest("json_invalid")
    return dict(reversed(pairs))


def page_request(args: Mapping[str, str]) -> PageRequest:
    """Return the page request of the parameters `cursor` and `limit`. Raises `BadRequest`."""
    if not args:
        return FIRST_PAGE
    limit = args.get("limit", str(FIRST_PAGE.limit))
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise BadRequest("limit_invalid")
    return PageRequest(int(limit), Cursor.parse(args["cursor"]) if "cursor" in args else None)


def has_flag(args: Mapping[str, str], name: str) -> bool:
    """Return whether the parameter `name` is `true`. `false` and a missing one are not. Raises `BadRequest`."""
    value = args.get(name, "false")
    if value not in {"true", "false"}:
        raise BadRequest(f"{name}_invalid")
    return value == "true"


def idempotency_key(request: Request) -> IdempotencyKey | None:
    """Return a POST's idempotency key with its fingerprint, `None` without a key. Raises `BadRequest`."""
    key = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    # A PUT is idempotent without a key.
    if key is None or request.method != "POST":
        return None
    if not re.fullmatch("[ -~]{1,255}", key):
        raise BadRequest("idempotency_key_invalid")
    return IdempotencyKey(key, sha256(request.path.encode() + b"\0" + raw_body(request)).digest())


def json_response(body: JSONBytes | Page | ReplayedResponse, content_type: str = JSON) -> Response:
    """Return a response with the JSON bytes unchanged. A page gets its `Link`, a replay its `Idempotency-Replayed`."""
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
    """Return a copy of `response` with headers of its own, so that hooks may add to them."""
    return Response(response.response, response.status, response.headers.copy())


def link_header(args: Mapping[str, str], page: Page) -> str:
    """Return the header `Link` (RFC 8288) to the page's neighbours, with the request's parameters; "" without any.

    The references are queries alone (RFC 3986, section 5.2). Clients resolve them against the request's URL, because
    a proxy may have removed a prefix of its path.
    """
    parameters = link_parameters(args)
    # A cursor needs no quoting.
    query = f"{urlencode(parameters)}&cursor=" if parameters else "cursor="
    neighbours = (("next", page.next), ("prev", page.prev))
    return ", ".join(f'<?{query}{cursor}>; rel="{rel}"' for rel, cursor in neighbours if cursor)


def link_parameters(args: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that a request shares with those for its neighbours, without a default `limit`."""
    parameters = {name: args[name] for name in ("term", "reposts", "limit") if name in args}
    if parameters.get("limit") == str(FIRST_PAGE.limit):
        del parameters["limit"]
    return parameters


def complete_response(response: Response) -> Response:
    """Complete the headers of every response, of views and of error handlers."""
    environ, state = request.environ, unwrap(g)
    response.headers.extend(FIXED_HEADERS)
    # Both are missing when an earlier hook has answered the request.
    policy, token = state.get("auth_policy"), state.get("token")
    is_read = environ["REQUEST_METHOD"] in READS
    if is_read and "HTTP_IF_NONE_MATCH" in environ:
        answer_not_modified(response)
    set_cache_control(response, is_read=is_read, is_personal=is_user_specific(policy, token))
    if is_read and policy is AuthPolicy.OPTIONAL:
        # An authenticated client must not get a cache's anonymous response.
        response.headers.add("Vary", "Authorization")
    # The server would parse an unread body as the next request. Only an authenticated client gets time to send it.
    has_unread_body = has_body(environ) and not (token and drain_body(request))
    if has_unread_body or is_draining():
        # The server obeys this header (RFC 9112, section 9.6) and closes the connection.
        response.headers["Connection"] = "close"
    return response


def answer_not_modified(response: Response) -> None:
    """Turn the response into a 304 when the client has its body already (RFC 9110, `If-None-Match`).

    werkzeug's `make_conditional` also evaluates `If-Match`, ranges and dates, which are for files.
    """
    tag, _ = response.get_etag()
    sent = request.environ["HTTP_IF_NONE_MATCH"]
    # werkzeug's parser takes a tenth of a cached page's time, so it reads only what it alone can tell.
    if tag is None or (tag not in sent and "*" not in sent):
        return
    if sent == quote_etag(tag) or request.if_none_match.contains_weak(tag):
        response.status_code = 304
        response.set_data(b"")
        del response.headers["Content-Type"]


def set_cache_control(response: Response, *, is_read: bool, is_personal: bool) -> None:
    """Let caches store responses that are the same for all users, after revalidation only, and no others.

    The header of a view, if the response has one, takes precedence.
    """
    is_cacheable = is_read and not is_personal and response.status_code in {200, 304}
    # Looking for a header that is missing raises an exception within werkzeug, and `getlist` does not.
    if not response.headers.getlist("Cache-Control"):
        response.headers.add("Cache-Control", NO_CACHE if is_cacheable else NO_STORE)
