"""Spans and figures as OTLP's own messages (https://github.com/open-telemetry/opentelemetry-proto)."""

import time
from functools import lru_cache

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Gauge,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Histogram as HistogramMessage
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from lib.metrics import Histogram
from lib.tracing import Span, Trace

# Attributes that as good as every span has another value of.
OWN = {"app.now", "app.pool_wait_ms", "app.request_id", "app.user_id"}


def pair(name: str, value: str | float) -> KeyValue:
    """An attribute."""
    attribute = KeyValue(key=name)
    set_value(attribute.value, value)
    return attribute


def set_value(message: AnyValue, value: str | float) -> None:
    """Fill an attribute's value in where it is: to make one and hand it over takes three times as long."""
    if isinstance(value, str):
        message.string_value = value
    elif isinstance(value, int):
        message.int_value = value
    else:
        message.double_value = value


@lru_cache(maxsize=4096)
def usual(name: str, kind: SpanMessage.SpanKind.ValueType, attributes: tuple[tuple[str, str | float], ...]) -> bytes:
    """What many spans have alike, encoded once: to encode it again is most of what a span costs."""
    message = SpanMessage(name=name, kind=kind, flags=1, attributes=[pair(*each) for each in attributes])
    encoded: bytes = message.SerializeToString()
    return encoded


def add(batch: ScopeSpans, trace: Trace, span: Span) -> None:
    """Add the span to the batch, in the protocol's terms."""
    message = batch.spans.add(
        trace_id=trace.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        start_time_unix_nano=span.start,
        end_time_unix_nano=span.end,
    )
    kind = SpanMessage.SPAN_KIND_INTERNAL
    if "db.system.name" in span.attributes:
        kind = SpanMessage.SPAN_KIND_CLIENT
    elif "http.request.method" in span.attributes:
        kind = SpanMessage.SPAN_KIND_SERVER
        message.trace_state = trace.parent.state if trace.parent else ""
    alike = tuple([each for each in span.attributes.items() if each[0] not in OWN])
    message.MergeFromString(usual(span.name, kind, alike))
    for name in OWN & span.attributes.keys():
        set_value(message.attributes.add(key=name).value, span.attributes[name])
    if span.error:
        message.status.code = Status.STATUS_CODE_ERROR
        message.status.message = span.error


def histogram(measured: Histogram, names: tuple[str, ...], since: int) -> Metric:
    """A histogram whose attributes are called `names`, since that many nanoseconds after the epoch."""
    now = time.time_ns()
    points = [
        HistogramDataPoint(
            attributes=[pair(*each) for each in zip(names, values, strict=True) if each[1] != ""],
            start_time_unix_nano=since,
            time_unix_nano=now,
            count=sum(found.counts),
            sum=found.total,
            bucket_counts=found.counts,
            explicit_bounds=measured.bounds,
        )
        for values, found in measured.read().items()
    ]
    message = HistogramMessage(data_points=points, aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE)
    return Metric(name=measured.name, unit="s", histogram=message)


def gauge(name: str, unit: str, value: int, **attributes: str) -> Metric:
    """What there is now."""
    point = NumberDataPoint(
        attributes=[pair(*each) for each in attributes.items()], time_unix_nano=time.time_ns(), as_int=value
    )
    return Metric(name=name, unit=unit, gauge=Gauge(data_points=[point]))


def counter(name: str, unit: str, value: int, since: int) -> Metric:
    """How many there have been."""
    point = NumberDataPoint(start_time_unix_nano=since, time_unix_nano=time.time_ns(), as_int=value)
    total = Sum(data_points=[point], aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE, is_monotonic=True)
    return Metric(name=name, unit=unit, sum=total)
