"""CORS by flask-cors: only pages of the configured origins may call this service.

A hook adds what flask-cors lacks (docs/contract.md): a preflight of an unknown path gets 200. lib/http.py has every
response vary by `Origin`.
"""

import re
from collections.abc import Iterable

from flask import Flask, Response, request
from flask_cors import CORS

ALLOWED_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
ALLOWED_HEADERS = [
    *("authorization", "content-type", "cruddur-seen", "idempotency-key", "if-none-match"),
    *("traceparent", "tracestate"),
]
EXPOSED_HEADERS = [
    *("Link", "ETag", "Retry-After", "Server-Timing", "X-Request-Id", "Idempotency-Replayed", "Cruddur-Seen"),
    *("RateLimit-Policy", "RateLimit"),
]
# The time for which a browser may cache a preflight. Chromium caps it at two hours.
MAX_AGE_SECONDS = 7200


def init_app(app: Flask, origins: Iterable[str]) -> None:
    """Let pages of `origins` call the application."""
    CORS(
        app,
        # Patterns, because flask-cors compares strings without regard to case.
        origins=[re.compile(re.escape(origin) + r"\Z") for origin in origins],
        methods=ALLOWED_METHODS,
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=MAX_AGE_SECONDS,
        always_send=False,
        # lib/http.py adds `Vary` to every response.
        vary_header=False,
        # With True flask-cors replaces two methods of the application. Errors pass the `after_request` hooks anyway.
        intercept_exceptions=False,
    )
    app.before_request(answer_preflight)


def answer_preflight() -> Response | None:
    """Answer a preflight of any path, so that a page can read the 404 of an unknown path."""
    environ = request.environ
    if environ["REQUEST_METHOD"] != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
        return None
    response = Response()
    del response.headers["Content-Type"]
    return response
