"""Request ids and timings: the headers `X-Request-Id` and `Server-Timing`, and the request's line in the log."""

import logging
import random
import re
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, g, has_request_context, request
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lib.database import Timings
from lib.local_proxy import unwrap

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask.ctx import _AppCtxGlobals

logger = logging.getLogger("cruddur.request")

# Load balancers call these every few seconds. The log and traces leave them out.
HEALTH_CHECKS = {"/api/health-check", "/livez", "/readyz"}
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# HTTP's methods. Unknown methods must not create series of metrics (OpenTelemetry's semantic conventions).
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"}


def init_app(app: Flask) -> None:
    """Identify and time each request."""
    app.before_request(start_request)
    app.after_request(finish_request)


def start_request() -> None:
    """Set the request's start time and ids: `g.start`, `g.trace_id`, `g.request_id`."""
    state, environ = unwrap(g), request.environ
    state.start = time.perf_counter()
    state.trace_id = state.request_id = trace_id(environ)
    client_id = environ.get("HTTP_X_REQUEST_ID")
    if client_id and REQUEST_ID.fullmatch(client_id):
        state.request_id = client_id
        trace.get_current_span().set_attribute("app.request_id", client_id)


def trace_id(environ: "WSGIEnvironment") -> str:
    """Return the request's trace id: from the current span, else from `traceparent`, else a random one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid and "HTTP_TRACEPARENT" in environ:
        carrier = {"traceparent": environ["HTTP_TRACEPARENT"]}
        parent = TraceContextTextMapPropagator().extract(carrier)
        context = trace.get_current_span(parent).get_span_context()
    # The id is no secret, so `random` suffices: https://www.w3.org/TR/trace-context/#randomness-of-trace-id
    return trace.format_trace_id(context.trace_id if context.is_valid else random.getrandbits(128))


def finish_request(response: Response) -> Response:
    """Add the request's id and timings to the response, and log the request."""
    state, current = unwrap(g), unwrap(request)
    if "start" not in state:
        # The hook of an extension failed before ours ran.
        start_request()
    seconds = time.perf_counter() - state.start
    response.headers.extend([("X-Request-Id", state.request_id), ("Server-Timing", server_timing(state, seconds))])
    if logger.isEnabledFor(logging.INFO) and current.path not in HEALTH_CHECKS:
        logger.info(
            "request",
            extra={
                "method": method(current),
                "status": response.status_code,
                "duration_ms": round(seconds * 1000, 2),
            },
        )
    return response


def server_timing(state: "_AppCtxGlobals", seconds: float) -> str:
    """Return the header `Server-Timing` (https://www.w3.org/TR/server-timing/), in milliseconds."""
    auth, db = state.get("auth_seconds", 0.0), state.get("db")
    timings = db.timings if db else Timings()
    standby = f", db;desc=standby;dur={timings.standby * 1000:.2f}" if timings.standby else ""
    return (
        f"auth;dur={auth * 1000:.2f}, pool;dur={timings.pool * 1000:.2f}, db;dur={timings.db * 1000:.2f}, "
        f"total;dur={seconds * 1000:.2f}{standby}"
    )


def log_context() -> dict[str, Any]:
    """Return the log's fields of the current request, and no fields outside of a request."""
    if not has_request_context():
        return {}
    state = unwrap(g)
    if "trace_id" not in state:
        return {}
    return {"trace_id": state.trace_id, "request_id": state.request_id, "route": route(unwrap(request))}


def method(request: Request) -> str:
    """Return the request's method, `_OTHER` for a method that HTTP does not define."""
    return request.method if request.method in METHODS else "_OTHER"


def route(request: Request) -> str:
    """Return the request's route in the documents' form, `/api/activities/@<handle>`; "" for an unknown path."""
    return route_template(request.url_rule.rule) if request.url_rule else ""


@cache
def route_template(rule: str) -> str:
    """Return the rule of a Flask route without its converters."""
    return re.sub(r"<\w+:", "<", rule)
