"""OpenTelemetry: the SDK and Flask's instrumentation, both only where an exporter is configured.

FlaskInstrumentor does nearly all of its work for unsampled requests too. So the sampler is asked in front of
it, and an unsampled request never enters it: docs/performance.md has what that saves.
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

from lib.command_errors import ConfigError
from lib.config import Config
from lib.local_proxy import unwrap
from lib.request_log import HEALTH_CHECKS, method, route

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# In a request's WSGI environment, where it is sampled.
SAMPLED = "cruddur.sampled"
# Seconds: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# A longer `tracestate` is dropped, as https://www.w3.org/TR/trace-context/#tracestate-limits allows.
MAX_TRACESTATE_CHARS = 512
# The SDK's and the instrumentation's own variables, where the operator has not set them: the stable names of
# attributes, a queue for some seconds of a busy process, and no exemplars, a twentieth of a traced request's CPU.
DEFAULTS = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
    "OTEL_BSP_MAX_QUEUE_SIZE": "8192",
    "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
}


def init_app(app: Flask, config: Config) -> None:
    """Export spans and metrics as `config` says. To be called after the fork: exporters have threads."""
    if config.traces_exporter == config.metrics_exporter == "none":
        return
    for name, value in DEFAULTS.items():
        # An empty variable counts as not set.
        os.environ[name] = os.environ.get(name) or value
    # Here, so that a service without an exporter need not load the SDK.
    from lib import exporters

    exporters.start(config.traces_exporter, config.metrics_exporter)
    if config.metrics_exporter != "none":
        exporters.observe_pool(app.extensions["database_pool"].pool.get_stats)
        app.after_request(duration_recorder())
    if config.traces_exporter != "none":
        instrument(app, exporters.sampler(config.otel_traces_sampler, config.otel_traces_sampler_arg))


def check(config: Config) -> None:
    """Raise `ConfigError` when the SDK refuses a variable of its own: each worker would end with that at its start."""
    if config.traces_exporter == config.metrics_exporter == "none":
        return
    try:
        for module in ("lib.exporters", "opentelemetry.instrumentation.flask"):
            import_module(module)
    except ValueError as error:
        raise ConfigError(f"OpenTelemetry's SDK refuses one of its OTEL_ settings: {error}") from error


def instrument(app: Flask, sampler: Callable[[Context | None, int], bool]) -> None:
    """Have FlaskInstrumentor see the requests that `sampler` takes, and no other."""
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    sampled = SampledRequests(app, sampler)
    # The instrumentation has no types.
    FlaskInstrumentor.instrument_app(  # type: ignore[no-untyped-call]
        sampled, request_hook=name_span, response_hook=describe_failure, enable_commenter=False
    )
    # As Flask's documentation of `wsgi_app` puts middleware in front; mypy takes that for a mistake.
    app.wsgi_app = sampled  # type: ignore[method-assign]


class SampledRequests:
    """The application as FlaskInstrumentor sees it: its hooks and its middleware are for sampled requests only."""

    def __init__(self, app: Flask, sampler: Callable[[Context | None, int], bool]) -> None:
        self._app = app
        self._sampler = sampler
        self._plain = app.wsgi_app
        self._propagator = TraceContextTextMapPropagator()
        # Replaced by FlaskInstrumentor's middleware.
        self.wsgi_app: WSGIApplication = app.wsgi_app

    def before_request(self, hook: Callable[[], None]) -> None:
        """Register a hook of the instrumentation's."""
        self._app.before_request(lambda: hook() if SAMPLED in request.environ else None)

    def teardown_request(self, hook: Callable[[BaseException | None], None]) -> None:
        """Register a hook of the instrumentation's."""
        self._app.teardown_request(lambda error: hook(error) if SAMPLED in request.environ else None)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer the request, by way of the instrumentation if it is sampled."""
        if environ["PATH_INFO"] in HEALTH_CHECKS or not self.is_sampled(environ):
            return self._plain(environ, start_response)
        environ[SAMPLED] = True
        if len(environ.get("HTTP_TRACESTATE", "")) > MAX_TRACESTATE_CHARS:
            del environ["HTTP_TRACESTATE"]
        return self.wsgi_app(environ, start_response)

    def is_sampled(self, environ: "WSGIEnvironment") -> bool:
        """Ask the sampler: about a new trace, or about the one that the request's `traceparent` continues."""
        parent, trace_id = None, random.getrandbits(128)
        if "HTTP_TRACEPARENT" in environ:
            parent = self._propagator.extract({"traceparent": environ["HTTP_TRACEPARENT"]})
            trace_id = trace.get_current_span(parent).get_span_context().trace_id or trace_id
        return self._sampler(parent, trace_id)


def name_span(span: Span, _: "WSGIEnvironment") -> None:
    """Name the server span after its route, or after the method alone: a path holds what people wrote."""
    span.update_name(f"{method(request)} {route(request)}".rstrip())


def describe_failure(span: Span, status: str, _: list[tuple[str, str]]) -> None:
    """Give a server error its status as the description."""
    if status >= "5":
        span.set_status(Status(StatusCode.ERROR, status[:3]))


def duration_recorder() -> Callable[[Response], Response]:
    """Return a hook that measures unsampled requests with the histogram that FlaskInstrumentor has for the others."""
    from opentelemetry.instrumentation import flask
    from opentelemetry.instrumentation.flask.version import __version__
    from opentelemetry.semconv.metrics.http_metrics import HTTP_SERVER_REQUEST_DURATION
    from opentelemetry.semconv.schemas import Schemas

    # The same scope, name and unit make it the same instrument, so that each series is counted once.
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
            histogram.record(time.perf_counter() - g.started, attributes)
        return response

    return record
