"""Spans, received by a collector of our own."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.make import Make
from tests.test_serve import get, serving

Received = tuple[dict[str, str], ExportTraceServiceRequest]


@contextmanager
def collector() -> Iterator[tuple[str, "Queue[Received]"]]:
    """A collector that takes OTLP over HTTP: its URL, and what has arrived."""
    received: Queue[Received] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            received.put(({"path": self.path, **self.headers}, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        listening = threading.Thread(target=server.serve_forever)
        listening.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            listening.join()


@pytest.mark.parametrize("name", ["cruddur", "cruddur-staging"])
def test_the_home_feed_leaves_a_span_with_its_length(service_url: str, make: Make, name: str) -> None:
    for _ in range(3):
        make.activity(make.user())

    with collector() as (url, received):
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-honeycomb-team=key",
            **({} if name == "cruddur" else {"OTEL_SERVICE_NAME": name}),
        }
        with serving(service_url, WEB_CONCURRENCY="1", **settings) as port:
            assert get(port, "/api/activities/home")[0] == 200
        # Sent at the latest when the service is told to stop.
        headers, request = received.get(timeout=1)

    assert (headers["path"], headers["x-honeycomb-team"]) == ("/v1/traces", "key")
    (resource_spans,) = request.resource_spans
    resource = {each.key: each.value.string_value for each in resource_spans.resource.attributes}
    assert resource["service.name"] == name
    (span,) = [span for scope in resource_spans.scope_spans for span in scope.spans if span.name == "home-activities"]
    assert {each.key: each.value.int_value for each in span.attributes} == {"app.result_length": 3}


def test_a_span_is_marked_by_our_faults_alone_and_quotes_nothing(service_url: str, owner: psycopg.Connection) -> None:
    spans = []
    for status, says in ((404, ""), (500, "UndefinedColumn 42703")):
        with collector() as (url, received):
            settings = {"WEB_CONCURRENCY": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
            with serving(service_url, says=says, **settings) as port:
                assert get(port, "/api/activities/@nobody")[0] == status
            _, request = received.get(timeout=1)
        spans += [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
        owner.execute("ALTER TABLE users DROP COLUMN IF EXISTS bio")

    unset, error = Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR
    assert [(span.status.code, span.status.message) for span in spans] == [(unset, ""), (error, "UndefinedColumn")]
    assert [list(span.events) for span in spans] == [[], []]


def test_without_the_variables_nothing_is_exported(service_url: str) -> None:
    with serving(service_url, OTEL_TRACES_EXPORTER="") as port:
        assert get(port, "/api/activities/home")[0] == 200
