"""OpenTelemetry: the SDK and Flask's instrumentation, both only if an exporter is configured.

FlaskInstrumentor does nearly all of its work for unsampled requests too. So the sampler decides in front of it,
and unsampled requests bypass it. docs/performance.md has the savings.
"""

import os
import random
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lib import db
from lib.command_errors import ConfigError
from lib.config import Config
from lib.local_proxy import unwrap
from lib.request_log import HEALTH_CHECKS, method, route

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# A key in the WSGI environment of sampled requests.
SAMPLED = "cruddur.sampled"
# Seconds: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# The service drops a longer `tracestate`, as https://www.w3.org/TR/trace-context/#tracestate-limits allows.
MAX_TRACESTATE_CHARS = 512
# Defaults for variables of the SDK and the instrumentation: the stable names of attributes, a queue for some seconds
# of a busy process, and no exemplars, which take a twentieth of a traced request's CPU.
DEFAULTS = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
    "OTEL_BSP_MAX_QUEUE_SIZE": "8192",
    "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
}


def init_app(app: Flask, config: Config) -> None:
    """Export the spans and metrics that `config` asks for. Call this after the fork: exporters have threads."""
    if config.traces_exporter == config.metrics_exporter == "none":
        return
    for name, value in DEFAULTS.items():
        # An empty variable counts as not set.
        os.environ[name] = os.environ.get(name) or value
    # A local import: a service without an exporter need not load the SDK.
    from lib import exporters

    exporters.start(config.traces_exporter, config.metrics_exporter)
    if config.metrics_exporter != "none":
        exporters.observe_pools(db.pools(app))
        app.after_request(duration_recorder())
    if config.traces_exporter != "none":
        instrument(app, exporters.sampler(config.otel_traces_sampler, config.otel_traces_sampler_arg))


def check(config: Config) -> None:
    """Raise `ConfigError` when the SDK rejects one of its variables. Otherwise each worker would end at its start."""
    if config.traces_exporter == config.metrics_exporter == "none":
        return
    try:
        for module in ("lib.exporters", "opentelemetry.instrumentation.flask"):
            import_module(module)
    except ValueError as error:
        raise ConfigError(f"OpenTelemetry's SDK refuses one of its OTEL_ settings: {error}") from error


def instrument(app: Flask, sampler: Callable[[Context | None, int], bool]) -> None:
    """Instrument the application for requests that `sampler` accepts, and for no others."""
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    facade = SampledRequests(app, sampler)
    # The instrumentation has no types.
    FlaskInstrumentor.instrument_app(  # type: ignore[no-untyped-call]
        facade, request_hook=name_span, response_hook=describe_failure, enable_commenter=False
    )
    # Flask's documentation of `wsgi_app` adds middleware in this way; mypy reports an error for it.
    app.wsgi_app = facade  # type: ignore[method-assign]


class SampledRequests:
    """A facade of the application for FlaskInstrumentor: hooks and middleware run for sampled requests only."""

    def __init__(self, app: Flask, sampler: Callable[[Context | None, int], bool]) -> None:
        self._app = app
        self._sampler = sampler
        self._plain = app.wsgi_app
        self._propagator = TraceContextTextMapPropagator()
        # FlaskInstrumentor replaces this attribute with its middleware.
        self.wsgi_app: WSGIApplication = app.wsgi_app

    def before_request(self, hook: Callable[[], None]) -> None:
        """Register a `before_request` hook of the instrumentation."""
        self._app.before_request(lambda: hook() if SAMPLED in request.environ else None)

    def teardown_request(self, hook: Callable[[BaseException | None], None]) -> None:
        """Register a `teardown_request` hook of the instrumentation."""
        self._app.teardown_request(lambda error: hook(error) if SAMPLED in request.environ else None)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer the request, through the instrumentation's middleware if it is sampled."""
        if environ["PATH_INFO"] in HEALTH_CHECKS or not self.is_sampled(environ):
            return self._plain(environ, start_response)
        environ[SAMPLED] = True
        if len(environ.get("HTTP_TRACESTATE", "")) > MAX_TRACESTATE_CHARS:
            del environ["HTTP_TRACESTATE"]
        return self.wsgi_app(environ, start_response)

    def is_sampled(self, environ: "WSGIEnvironment") -> bool:
        """Return the sampler's decision, for a new trace or for the trace that `traceparent` continues."""
        parent, trace_id = None, random.getrandbits(128)
        if "HTTP_TRACEPARENT" in environ:
            parent = self._propagator.extract({"traceparent": environ["HTTP_TRACEPARENT"]})
            trace_id = trace.get_current_span(parent).get_span_context().trace_id or trace_id
        return self._sampler(parent, trace_id)


def name_span(span: Span, _: "WSGIEnvironment") -> None:
    """Name the server span by method and route, for an unknown path by method alone: a path may hold personal data."""
    span.update_name(f"{method(request)} {route(request)}".rstrip())


def describe_failure(span: Span, status: str, _: list[tuple[str, str]]) -> None:
    """Set the status code as the description of a server error's span."""
    if status >= "5":
        span.set_status(Status(StatusCode.ERROR, status[:3]))


def duration_recorder() -> Callable[[Response], Response]:
    """Return a hook that records unsampled requests in the histogram that FlaskInstrumentor uses for the others."""
    from opentelemetry.instrumentation import flask
    from opentelemetry.instrumentation.flask.version import __version__
    from opentelemetry.semconv.metrics.http_metrics import HTTP_SERVER_REQUEST_DURATION
    from opentelemetry.semconv.schemas import Schemas

    # Equal scope, name and unit make this the same instrument, so that each series exists once.
    meter = metrics.get_meter(flask.__name__, __version__, schema_url=Schemas.V1_21_0.value)
    histogram = meter.create_histogram(
        HTTP_SERVER_REQUEST_DURATION,
        unit="s",
        description="Duration of HTTP server requests.",
        explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
    )

    def record(response: Response) -> Response:
        current = unwrap(request)
        if SAMPLED not in current.environ and current.path not in HEALTH_CHECKS:
            attributes: dict[str, Any] = {
                "http.request.method": method(current),
                "http.response.status_code": response.status_code,
                "url.scheme": current.scheme,
            }
            if current.url_rule:
                attributes["http.route"] = current.url_rule.rule
            histogram.record(time.perf_counter() - unwrap(g).start, attributes)
        return response

    return record
