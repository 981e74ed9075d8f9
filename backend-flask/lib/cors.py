"""Which browsers may call us: the CORS protocol of the Fetch standard (fetch.spec.whatwg.org, section 3.3)."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lib.body import has_body
from lib.http import KEEP_NOTHING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ALLOWED_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
ALLOWED_HEADERS = ["authorization", "content-type", "idempotency-key", "if-none-match", "traceparent", "tracestate"]
EXPOSED_HEADERS = ["Link", "ETag", "Retry-After", "Server-Timing", "X-Request-Id", "Idempotency-Replayed"]
# How long a browser may go without asking again. Chromium caps it at two hours.
MAX_AGE_SECONDS = 7200
PREFLIGHT = [
    ("Access-Control-Allow-Methods", ", ".join(ALLOWED_METHODS)),
    ("Access-Control-Allow-Headers", ", ".join(ALLOWED_HEADERS)),
    ("Access-Control-Max-Age", str(MAX_AGE_SECONDS)),
]
EXPOSED = [("Access-Control-Expose-Headers", ", ".join(EXPOSED_HEADERS))]


class Cors:
    """WSGI middleware: pages of `origins`, and of no other, may call the application."""

    def __init__(self, app: "WSGIApplication", origins: frozenset[str]) -> None:
        self._app = app
        self._origins = origins

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The application's answer, or that to a preflight."""

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            # On every answer: without Origin there are no CORS headers, and a cache must not mix the two.
            return start_response(status, [*headers, ("Vary", "Origin"), *self._allowed(environ)], *rest)

        # Whatever its path, so that a page can read our 404 for one that we don't have,
        # and before anything that could need the database.
        if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            start("200 OK", [("Cache-Control", KEEP_NOTHING), ("Content-Length", "0"), *end_of(environ)])
            return []
        return self._app(environ, start)

    def _allowed(self, environ: "WSGIEnvironment") -> list[tuple[str, str]]:
        """The headers by which a page of `origins` may read the answer; none for any other."""
        origin = environ.get("HTTP_ORIGIN")
        if origin not in self._origins:
            return []
        told = PREFLIGHT if environ["REQUEST_METHOD"] == "OPTIONS" else EXPOSED
        return [("Access-Control-Allow-Origin", origin), *told]


def end_of(environ: "WSGIEnvironment") -> list[tuple[str, str]]:
    """The header that ends the connection of a preflight with a body, which nobody reads. Browsers send none."""
    return [("Connection", "close")] if has_body(environ) else []
