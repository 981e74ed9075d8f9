"""Where the spans go while tracing is measured: it keeps what comes (OTLP over HTTP), and counts when it is asked.

Run as a command with a port: POST takes spans, and GET answers how many of them began a request.
"""

import gzip
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

bodies: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Keep a batch of spans as it is: to read it now would cost those who are measured. Figures are not wanted."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/v1/traces"):
            bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        self.answer(b"", "application/x-protobuf")

    def do_GET(self) -> None:
        """How many requests there were."""
        self.answer(str(sum(map(roots, bodies))).encode(), "text/plain")

    def answer(self, body: bytes, mimetype: str) -> None:
        """Answer 200."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", mimetype)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def roots(body: bytes) -> int:
    """How many spans of a batch have none above them: one a request."""
    scopes = [s for r in ExportTraceServiceRequest.FromString(body).resource_spans for s in r.scope_spans]
    return sum(not span.parent_span_id for scope in scopes for span in scope.spans)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
