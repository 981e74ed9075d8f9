"""Which browsers may call us: the CORS protocol of the Fetch standard (fetch.spec.whatwg.org, section 3.3)."""

from typing import TYPE_CHECKING

from flask import Flask, request

from lib.wsgi import Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

ALLOWED_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
ALLOWED_HEADERS = ["authorization", "content-type", "idempotency-key", "if-none-match", "traceparent", "tracestate"]
EXPOSED_HEADERS = ["Link", "ETag", "Retry-After", "Server-Timing", "X-Request-Id", "Idempotency-Replayed"]
# How long a browser may go without asking again. Chromium caps it at two hours.
MAX_AGE_SECONDS = 7200
PREFLIGHT = {
    "Access-Control-Allow-Methods": ", ".join(ALLOWED_METHODS),
    "Access-Control-Allow-Headers": ", ".join(ALLOWED_HEADERS),
    "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
}
EXPOSED = {"Access-Control-Expose-Headers": ", ".join(EXPOSED_HEADERS)}


def allow_origins(app: Flask, origins: frozenset[str]) -> None:
    """Let pages of `origins`, and of no other, call `app`."""

    @app.before_request
    def answer_preflight() -> Answer | None:
        # Whatever its path, so that a page can read our 404 for one that we don't have,
        # and before anything that could need the database.
        preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return Answer() if preflight else None

    @app.after_request
    def allow(answer: Answer) -> Answer:
        # On every answer: without Origin there are no CORS headers, and a cache must not mix the two.
        answer.vary_by("Origin")
        answer.headers.extend(allowed(origins, request.environ))
        return answer


def allowed(origins: frozenset[str], environ: "WSGIEnvironment") -> dict[str, str]:
    """The headers by which a page of `origins` may read the answer; none for any other."""
    origin = environ.get("HTTP_ORIGIN")
    if origin not in origins:
        return {}
    return {"Access-Control-Allow-Origin": origin, **(PREFLIGHT if environ["REQUEST_METHOD"] == "OPTIONS" else EXPOSED)}
