"""A collector that takes OTLP over HTTP, as Honeycomb's does, and keeps what it was sent."""

import gzip
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from harness.listening import listening


class Tree(NamedTuple):
    """A span, and those below it in the order of their starts."""

    span: Span
    below: list["Tree"]

    def names(self) -> tuple[object, ...]:
        """The names: a span's, and the same of each below it."""
        return (self.span.name, *(tree.names() for tree in self.below))

    def flat(self) -> list["Tree"]:
        """Return it, and all below it."""
        return [self, *(tree for each in self.below for tree in each.flat())]


class Collector:
    """What arrived."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        # Whoever sends something while it is not, waits.
        self.is_open = threading.Event()
        self.is_open.set()

    def clear(self) -> None:
        """Forget what arrived."""
        for kept in (self.bodies, self.headers, self.traces, self.metrics):
            kept.clear()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """One request."""
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.bodies.append(body)
        self.headers.append({"path": path, **headers})
        if path.endswith("/v1/traces"):
            self.traces.append(ExportTraceServiceRequest.FromString(body))
        else:
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))

    def spans(self) -> list[Span]:
        """All spans."""
        return [span for request in self.traces for span in spans_of(request)]

    def trees(self) -> list[Tree]:
        """The traces, in the order of their starts."""
        spans = sorted(self.spans(), key=lambda span: span.start_time_unix_nano)
        known = {span.span_id for span in spans}

        def tree(span: Span) -> Tree:
            return Tree(span, [tree(each) for each in spans if each.parent_span_id == span.span_id])

        return [tree(span) for span in spans if span.parent_span_id not in known]

    def instances(self) -> Counter[str]:
        """How many spans each process has sent, by its `service.instance.id`."""
        return Counter(
            {
                str(attributes(resource.resource.attributes)["service.instance.id"]): sum(
                    len(scope.spans) for scope in resource.scope_spans
                )
                for request in self.traces
                for resource in request.resource_spans
            }
        )

    def last_metrics(self) -> dict[str, dict[str, Metric]]:
        """The last figures of each process, by their names."""
        return {
            str(attributes(resource.resource.attributes)["service.instance.id"]): {
                metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics
            }
            for request in self.metrics
            for resource in request.resource_metrics
        }


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    """The spans of one request."""
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def attributes(said: Iterable[KeyValue]) -> dict[str, str | int | float]:
    """Attributes as values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in said}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on this machine, while this lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.is_open.wait()
            collector.take(self.path, dict(self.headers), body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with listening(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        collector.url = f"http://127.0.0.1:{port}"
        yield collector
