"""Which browsers may call us (the Fetch standard's CORS protocol), through flask-cors."""

import re

from flask import Flask, Response, request
from flask_cors import CORS

ALLOWED_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
ALLOWED_HEADERS = ["authorization", "content-type", "idempotency-key", "if-none-match", "traceparent", "tracestate"]
EXPOSED_HEADERS = ["Link", "ETag", "Retry-After", "Server-Timing", "X-Request-Id", "Idempotency-Replayed"]
# How long a browser may go without asking again. Chromium caps it at two hours.
MAX_AGE_SECONDS = 7200


def allow_origins(app: Flask, origins: tuple[str, ...]) -> None:
    """Let pages of `origins`, and of no other, call `app`."""

    @app.before_request
    def answer_preflight() -> Response | None:
        # Before routing, so that a page can read our 404 for a path that we don't have,
        # and before anything that could need the database.
        preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return Response() if preflight else None

    @app.after_request
    def vary(response: Response) -> Response:
        # On every answer: without Origin there are no CORS headers, and a cache must not mix the two.
        response.vary.add("Origin")
        return response

    CORS(
        app,
        # As expressions, because flask-cors takes a string with brackets (an IPv6 address) for one.
        origins=[re.compile(re.escape(origin) + r"\Z") for origin in origins],
        methods=ALLOWED_METHODS,
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
        max_age=MAX_AGE_SECONDS,
        always_send=False,
        vary_header=False,
    )
