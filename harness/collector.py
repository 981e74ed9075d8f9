"""A collector that takes OTLP over HTTP, as Honeycomb's does, and keeps the requests.

Run as a command with a port: POST takes spans, and GET returns how many of them began a trace.
"""

import gzip
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from harness.ports import HOST, free_port
from harness.processes import started
from harness.stubs import StubRequest, StubResponse, http_stub
from ops.command import ROOT, data_dir


class Tree(NamedTuple):
    """A span, and its children in the order of their starts."""

    span: Span
    below: list["Tree"]

    def names(self) -> tuple[object, ...]:
        """Return the span's name, and the same of each child."""
        return (self.span.name, *(tree.names() for tree in self.below))

    def flat(self) -> list["Tree"]:
        """Return this tree and all its subtrees."""
        return [self, *(tree for each in self.below for tree in each.flat())]


class Collector:
    """The requests to a collector."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[StubRequest] = []
        # While it is not set, exporters wait for their responses.
        self.is_open = threading.Event()
        self.is_open.set()

    def clear(self) -> None:
        """Forget all requests."""
        self.requests.clear()

    def respond(self, request: StubRequest) -> StubResponse:
        """Keep a request as it is, or return the number of root spans. Parsing later costs no exporter any time."""
        if request.method == "GET":
            roots = sum(not span.parent_span_id for span in self.spans())
            return StubResponse(body=str(roots).encode(), headers={"Content-Type": "text/plain"})
        self.is_open.wait()
        self.requests.append(request)
        return StubResponse(headers={"Content-Type": "application/x-protobuf"})

    @property
    def bodies(self) -> list[bytes]:
        """The bodies, decompressed."""
        return [decoded(request) for request in self.requests]

    @property
    def headers(self) -> list[dict[str, str]]:
        """The headers of each request, and its path."""
        return [{"path": request.path, **dict(request.headers)} for request in self.requests]

    @property
    def traces(self) -> list[ExportTraceServiceRequest]:
        """The batches of spans."""
        paths = [request for request in self.requests if request.path.endswith("/v1/traces")]
        return [ExportTraceServiceRequest.FromString(decoded(request)) for request in paths]

    @property
    def metrics(self) -> list[ExportMetricsServiceRequest]:
        """The batches of metrics."""
        paths = [request for request in self.requests if not request.path.endswith("/v1/traces")]
        return [ExportMetricsServiceRequest.FromString(decoded(request)) for request in paths]

    def spans(self) -> list[Span]:
        """Return all spans."""
        return [span for request in self.traces for span in spans_of(request)]

    def trees(self) -> list[Tree]:
        """Return the traces, in the order of their starts."""
        spans = sorted(self.spans(), key=lambda span: span.start_time_unix_nano)
        known = {span.span_id for span in spans}

        def tree(span: Span) -> Tree:
            return Tree(span, [tree(each) for each in spans if each.parent_span_id == span.span_id])

        return [tree(span) for span in spans if span.parent_span_id not in known]

    def instances(self) -> Counter[str]:
        """Return the number of spans by `service.instance.id`: one for each process."""
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
        """Return the last metrics of each process, by their names."""
        return {
            str(attributes(resource.resource.attributes)["service.instance.id"]): {
                metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics
            }
            for request in self.metrics
            for resource in request.resource_metrics
        }


def decoded(request: StubRequest) -> bytes:
    """Return the body, decompressed."""
    return gzip.decompress(request.body) if request.headers.get("Content-Encoding") == "gzip" else request.body


def spans_of(request: ExportTraceServiceRequest) -> list[Span]:
    """Return the spans of a batch."""
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def attributes(pairs: Iterable[KeyValue]) -> dict[str, str | int | float]:
    """Return attributes as values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in pairs}


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """Run a collector while this lasts."""
    collector = Collector()
    with http_stub(collector.respond, port, keep_alive=True) as collector.url:
        yield collector


@contextmanager
def collector_process(name: str = "collector") -> Iterator[str]:
    """Run a collector in a process of its own while this lasts. Yields its URL; `name` is the log's."""
    port = free_port()
    command = [sys.executable, "-m", "harness.collector", port]
    url, log = f"http://{HOST}:{port}", data_dir() / f"{name}.log"
    with started(command, url=url, environ=dict(os.environ), folder=ROOT, log=log):
        yield url


if __name__ == "__main__":
    with collecting(int(sys.argv[1])):
        threading.Event().wait()
