"""A viewer's stand-in: it takes traces on port 4318, and shows the bytes of all of them on port 16686."""

import gzip
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

received: list[bytes] = []


class Collector(BaseHTTPRequestHandler):
    """OTLP over HTTP."""

    def do_POST(self) -> None:
        """Keep an export."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        received.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class PageRequest(BaseHTTPRequestHandler):
    """What a person would look at."""

    def do_GET(self) -> None:
        """Show the exports. Their protobuf messages joined are one message."""
        body = b"".join(received)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# The first process of a container ends by no signal that it has no handler for.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
threading.Thread(target=ThreadingHTTPServer(("", 4318), Collector).serve_forever).start()
ThreadingHTTPServer(("", 16686), PageRequest).serve_forever()
