"""A stand-in for the trace viewer: it receives traces on port 4318 and serves all their bytes on port 16686."""

import gzip
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

received: list[bytes] = []


class Collector(BaseHTTPRequestHandler):
    """The receiver of OTLP over HTTP."""

    def do_POST(self) -> None:
        """Store an export."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        received.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class TracePage(BaseHTTPRequestHandler):
    """The page that shows the traces."""

    def do_GET(self) -> None:
        """Respond with all exports. Concatenated protobuf messages are one message."""
        body = b"".join(received)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# Signals without a handler do not end the first process of a container.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
threading.Thread(target=ThreadingHTTPServer(("", 4318), Collector).serve_forever).start()
ThreadingHTTPServer(("", 16686), TracePage).serve_forever()
