"""What is seen of each request: its trace, its figures, its line in the log, and what it tells its client."""

import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import psycopg

from lib import metrics
from lib.errors import is_fault
from lib.tracing import NO_SPAN, Parent, Sampler, Span, Trace, new_id, span

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Asked every few seconds, by machines, about nothing that happens.
UNSEEN = {"/api/health-check", "/livez", "/readyz"}
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# As the conventions want it: what a client makes up is not to fill our tables.
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"}


class Observed:
    """One request: who it is in the log and in its trace, and the seconds that its parts took."""

    __slots__ = ("auth", "db", "method", "pool", "request_id", "route", "scheme", "status", "trace_id")

    def __init__(self, environ: "WSGIEnvironment", trace_id: bytes) -> None:
        given = environ.get("HTTP_X_REQUEST_ID")
        method = environ["REQUEST_METHOD"]
        self.method = method if method in METHODS else "_OTHER"
        self.trace_id = trace_id
        self.request_id: str = given if given and REQUEST_ID.fullmatch(given) else trace_id.hex()
        # That of its path, once it is found.
        self.route = ""
        self.status = 0
        self.scheme: str = environ["wsgi.url_scheme"]
        self.auth = self.pool = self.db = 0.0


_observed: ContextVar[Observed | None] = ContextVar("observed", default=None)


def observed() -> Observed | None:
    """The request that this thread answers."""
    return _observed.get()


def found_route(route: str) -> None:
    """Note the route of the request."""
    current = _observed.get()
    if current is not None:
        current.route = route


class Observers(NamedTuple):
    """Where to what is seen goes: `None` where nobody wants it."""

    sampler: Sampler | None = None
    keep: Callable[[Trace], None] | None = None
    log: Callable[[Observed, float], None] | None = None
    # Sends what is waiting, and ends.
    close: Callable[[], None] = lambda: None


class Observe:
    """WSGI middleware that sees each request from its beginning to its end."""

    def __init__(self, app: "WSGIApplication", observers: Observers) -> None:
        self._app = app
        self._observers = observers

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The application's answer, with the headers `X-Request-Id` and `Server-Timing`."""
        begun = time.perf_counter()
        parent = Parent.of(environ) if "HTTP_TRACEPARENT" in environ else None
        request = Observed(environ, parent.trace_id if parent else new_id(16))

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            request.status = int(status[:3])
            timing = timings(request, time.perf_counter() - begun)
            return start_response(
                status, [*headers, ("X-Request-Id", request.request_id), ("Server-Timing", timing)], *rest
            )

        token = _observed.set(request)
        try:
            if environ["PATH_INFO"] in UNSEEN:
                return self._app(environ, start)
            return self._traced(request, parent, environ, start)
        finally:
            _observed.reset(token)
            if environ["PATH_INFO"] not in UNSEEN:
                self._count(request, time.perf_counter() - begun)

    def _traced(
        self, request: Observed, parent: Parent | None, environ: "WSGIEnvironment", start: "StartResponse"
    ) -> Iterable[bytes]:
        sampler, keep = self._observers.sampler, self._observers.keep
        if sampler is None or keep is None or not sampler.takes(request.trace_id, parent):
            return self._app(environ, start)
        trace = Trace(request.trace_id, parent, is_fault)
        root = trace.root(request.method)
        try:
            with root:
                return self._app(environ, start)
        finally:
            describe(root, request)
            keep(trace)

    def _count(self, request: Observed, seconds: float) -> None:
        metrics.requests.record(seconds, (request.method, request.route, request.status, request.scheme))
        if self._observers.log is not None:
            self._observers.log(request, seconds)


def timings(request: Observed, total: float) -> str:
    """The header `Server-Timing` (https://www.w3.org/TR/server-timing/), in milliseconds."""
    auth, pool, db = request.auth * 1000, request.pool * 1000, request.db * 1000
    return f"auth;dur={auth:.2f}, pool;dur={pool:.2f}, db;dur={db:.2f}, total;dur={total * 1000:.2f}"


def describe(root: Span, request: Observed) -> None:
    """Give a request's span its name and attributes. Neither its path nor its query: both hold what people wrote."""
    root.attributes.update(
        {
            "http.request.method": request.method,
            "http.response.status_code": request.status,
            "url.scheme": request.scheme,
        }
    )
    if request.request_id != request.trace_id.hex():
        root.attributes["app.request_id"] = request.request_id
    if request.route:
        root.name = f"{request.method} {request.route}"
        root.attributes["http.route"] = request.route
    if request.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        root.error = root.attributes["error.type"] = str(request.status)


class Query:
    """A statement, from when a connection is asked for to its answer."""

    __slots__ = ("_asked", "_lent", "_name", "_span")

    def __init__(self, name: str) -> None:
        self._name = name
        self._span = span(name)

    def __enter__(self) -> Self:
        self._asked = self._lent = time.perf_counter()
        self._span.__enter__()
        return self

    def is_lent(self) -> None:
        """A connection is there."""
        self._lent = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        pool, db = self._lent - self._asked, time.perf_counter() - self._lent
        current = _observed.get()
        if current is not None:
            current.pool += pool
            current.db += db
        state = (error.sqlstate or kind.__name__) if kind and isinstance(error, psycopg.Error) else ""
        metrics.statements.record(db, (self._name, state, "postgresql"))
        if self._span is not NO_SPAN:
            self._describe(pool, state)
        self._span.__exit__(kind, error, traceback)

    def _describe(self, pool: float, state: str) -> None:
        self._span.set_attribute("db.system.name", "postgresql")
        self._span.set_attribute("db.query.summary", self._name)
        self._span.set_attribute("app.pool_wait_ms", round(pool * 1000, 3))
        if state:
            self._span.set_attribute("db.response.status_code", state)
            self._span.set_attribute("error.type", state)
