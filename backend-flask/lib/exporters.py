"""OpenTelemetry's providers and exporters: only allow-listed attributes and route templates leave the process.

Spans and metrics go to a collector by OTLP over HTTP, configured by the SDK's variables
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). `console` prints a tree instead.
"""

import logging
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import requests
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from lib.request_log import route_template

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

# The attributes of an exported server span. FlaskInstrumentor adds client address and port, user agent and path.
SERVER_ATTRIBUTES = {
    *("http.request.method", "http.route", "http.response.status_code", "url.scheme", "error.type"),
    *("app.user_id", "app.request_id"),
}
DURATION_ATTRIBUTES = {"http.request.method", "http.route", "http.response.status_code", "url.scheme"}
VIEWS = [
    View(instrument_name="http.server.request.duration", attribute_keys=DURATION_ATTRIBUTES),
    # This metric costs two records a request, and the pool's gauges show the load better.
    View(instrument_name="http.server.active_requests", aggregation=DropAggregation()),
]
# The delay of a trace on a terminal.
CONSOLE_DELAY_MILLISECONDS = 200
# The console exporter's bound for traces whose server span has not ended.
MAX_UNFINISHED_TRACES = 1000
# The limit for exporting the queues when the process ends.
SHUTDOWN_SECONDS = 5.0


def sampler(name: str, share: float) -> Callable[[Context | None, int], bool]:
    """Return a function that decides whether a trace is sampled, from its parent's context and its id.

    `name` and `share` are the values of OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG.
    """
    samplers: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(share),
    }
    root = samplers[name.removeprefix("parentbased_")]
    sampler = root if name in samplers else ParentBased(root)

    def is_sampled(parent: Context | None, trace_id: int) -> bool:
        return sampler.should_sample(parent, trace_id, "").decision is Decision.RECORD_AND_SAMPLE

    return is_sampled


def start(traces_exporter: str, metrics_exporter: str) -> None:
    """Set the process's providers once. Later applications of the process share them."""
    if any(isinstance(provider, TracerProvider | MeterProvider) for provider in providers()):
        return
    # The SDK logs malformed headers, and a malformed header may be the API key itself.
    logging.getLogger("opentelemetry.util.re").addFilter(hide_arguments)
    resource = process_resource()
    if traces_exporter != "none":
        # lib/telemetry.py samples in front of the instrumentation, so every span here is sampled.
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        if traces_exporter == "console":
            processor = BatchSpanProcessor(ConsoleExporter(), schedule_delay_millis=CONSOLE_DELAY_MILLISECONDS)
        else:
            processor = BatchSpanProcessor(AllowListExporter(OTLPSpanExporter(session=session())))
        provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)
    if metrics_exporter != "none":
        reader = PeriodicExportingMetricReader(RouteExporter(OTLPMetricExporter(session=session())))
        metrics.set_meter_provider(MeterProvider([reader], resource, views=VIEWS, shutdown_on_exit=False))
    # A worker process ends without atexit handlers. Finalizers do run.
    Finalize(None, shutdown, exitpriority=10)


def session() -> requests.Session:
    """Return the exporters' HTTP session, which fails for a redirect: the SDK would count that as success."""
    session = requests.Session()
    session.hooks["response"].append(refuse_redirect)
    return session


def refuse_redirect(response: requests.Response, **_: Any) -> None:
    """Raise an exception for a redirect by the collector. The SDK logs it."""
    if HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST:
        raise requests.TooManyRedirects(
            f"the collector answers {response.status_code}, a redirect: set the endpoint to where it leads"
        )


def providers() -> tuple[object, ...]:
    """Return the process's providers of traces and metrics. Until they are set they are the API's placeholders."""
    return trace.get_tracer_provider(), metrics.get_meter_provider()


def process_resource() -> Resource:
    """Return the resource attributes that identify the service and, by a uuid, this process."""
    resource = Resource.create({"service.instance.id": str(uuid4())})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "cruddur"}))
    return resource


def hide_arguments(record: logging.LogRecord) -> bool:
    """Replace the arguments of a log message, which may be secrets."""
    record.args = ("(not shown)",)
    return True


def shutdown() -> None:
    """Export the queues, for `SHUTDOWN_SECONDS` at most. The rest is lost."""
    threads = [
        threading.Thread(target=provider.shutdown, daemon=True)
        for provider in providers()
        if isinstance(provider, TracerProvider | MeterProvider)
    ]
    end = time.monotonic() + SHUTDOWN_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def observe_pools(pools: "Iterable[ConnectionPool[Any]]") -> None:
    """Export psycopg_pool's statistics of each connection pool, by its name."""
    meter = metrics.get_meter("cruddur")
    stats_of = [({"db.client.connection.pool.name": pool.name}, pool.get_stats) for pool in pools]

    def observe(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(get_stats().get(name, 0), pool) for pool, get_stats in stats_of]

    def observe_connections(_: CallbackOptions) -> Iterable[Observation]:
        for pool, get_stats in stats_of:
            stats = get_stats()
            idle, size = stats.get("pool_available", 0), stats.get("pool_size", 0)
            yield Observation(idle, {**pool, "state": "idle"})
            yield Observation(size - idle, {**pool, "state": "used"})

    prefix = "db.client.connection"
    meter.create_observable_gauge(f"{prefix}.count", [observe_connections], "{connection}")
    meter.create_observable_gauge(f"{prefix}.max", [observe("pool_max")], "{connection}")
    meter.create_observable_gauge(f"{prefix}.pending_requests", [observe("requests_waiting")], "{request}")
    meter.create_observable_counter(f"{prefix}.timeouts", [observe("requests_errors")], "{timeout}")


class AllowListExporter(SpanExporter):
    """Exporter of server spans with allow-listed attributes only."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans."""
        return self._exporter.export([allow_listed(span) for span in spans])

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()


def allow_listed(span: ReadableSpan) -> ReadableSpan:
    """Return a span without any data that the client sent, except for the method."""
    if span.kind is not SpanKind.SERVER:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=with_route({name: value for name, value in attributes_of(span) if name in SERVER_ATTRIBUTES}),
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def attributes_of(span: ReadableSpan) -> Iterable[tuple[str, Any]]:
    """Return a span's attributes."""
    return (span.attributes or {}).items()


def with_route(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes whose route has no converters of Flask's: `<handle>` and not `<handle:handle>`."""
    if "http.route" not in attributes:
        return dict(attributes)
    return {**attributes, "http.route": route_template(attributes["http.route"])}


class RouteExporter(MetricExporter):
    """Exporter of metrics whose routes have no converters of Flask's."""

    def __init__(self, exporter: OTLPMetricExporter) -> None:
        super().__init__()
        self._exporter = exporter

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        """Export the metrics."""
        return self._exporter.export(with_routes(metrics_data), timeout_millis)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush the wrapped exporter. Return whether it succeeded."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """End the exporter."""
        self._exporter.shutdown(timeout_millis)


def with_routes(value: Any) -> Any:
    """Return the SDK's immutable metrics with `with_route` applied to each data point."""
    for name in ("resource_metrics", "scope_metrics", "metrics", "data_points"):
        if hasattr(value, name):
            return replace(value, **{name: [with_routes(each) for each in getattr(value, name)]})
    if hasattr(value, "data"):
        return replace(value, data=with_routes(value.data))
    return replace(value, attributes=with_route(value.attributes))


class ConsoleExporter(SpanExporter):
    """Exporter that prints each trace as a tree on the terminal, once its server span has ended."""

    def __init__(self) -> None:
        self._spans: dict[int, list[ReadableSpan]] = defaultdict(list)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Print, in one write, the traces whose server span is among `spans`."""
        lines = []
        for span in map(allow_listed, spans):
            self._spans[span.context.trace_id].append(span)
            if span.kind is SpanKind.SERVER:
                lines += tree(self._spans.pop(span.context.trace_id), span)
        if len(self._spans) > MAX_UNFINISHED_TRACES:
            self._spans.clear()
        try:
            os.write(sys.stderr.fileno(), "".join(f"{line}\n" for line in lines).encode())
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def tree(spans: Sequence[ReadableSpan], span: ReadableSpan, depth: int = 0) -> list[str]:
    """Return the lines of a span and of all spans below it."""
    milliseconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
    failure = f" FAILED {span.status.description}" if span.status.status_code is StatusCode.ERROR else ""
    attributes = " ".join(f"{name}={value}" for name, value in attributes_of(span))
    below = [each for each in spans if each.parent and each.parent.span_id == span.context.span_id]
    below.sort(key=lambda each: each.start_time or 0)
    line = f"{'  ' * depth}{span.name} {milliseconds:.2f} ms{failure} {attributes}"
    return [line, *(line for each in below for line in tree(spans, each, depth + 1))]
