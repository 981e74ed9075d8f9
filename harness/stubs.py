"""Servers on 127.0.0.1, each in a thread: HTTP stubs, a server that never responds, and one that refuses."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import MappingProxyType
from typing import NamedTuple

from harness.ports import HOST


@contextmanager
def listening(server: TCPServer) -> Iterator[int]:
    """Run a server while this lasts. Yields its port, which is free again afterwards."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


class StubRequest(NamedTuple):
    """A request to a stub."""

    method: str
    path: str
    headers: Message
    body: bytes


class StubResponse(NamedTuple):
    """A stub's response."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})


def read_body(request: BaseHTTPRequestHandler) -> bytes:
    """Return the body of a request, also of one in chunks."""
    if request.headers["Transfer-Encoding"] != "chunked":
        return request.rfile.read(int(request.headers["Content-Length"] or 0))
    chunks = []
    while size := int(request.rfile.readline(), 16):
        chunks.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(chunks)


@contextmanager
def http_stub(
    respond: Callable[[StubRequest], StubResponse | None], port: int = 0, *, keep_alive: bool = False
) -> Iterator[str]:
    """Run an HTTP server while this lasts. Yields its URL. `None` closes the connection without a response."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if keep_alive else "HTTP/1.0"

        def respond(self) -> None:
            response = respond(StubRequest(self.command, self.path, self.headers, read_body(self)))
            if response is None:
                self.close_connection = True
                return
            # A client may have given up.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(response.status)
                for name, value in {"Content-Length": str(len(response.body)), **response.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(response.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = respond  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        # A client that keeps its connection does not keep the stub from its end.
        daemon_threads = True
        block_on_close = False

    with listening(Server((HOST, port), Handler)) as listener:
        yield f"http://{HOST}:{listener}"


class Silent:
    """A server that accepts connections and never responds."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server((HOST, port))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        # Kept: a socket without a reference closes.
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.connections.append(self._listener.accept()[0])

    def stop(self) -> None:
        """Stop, and close all connections."""
        # The only way to wake a thread that waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._listener, *self.connections):
            each.close()


@contextmanager
def silent(port: int = 0) -> Iterator[Silent]:
    """Run a server that never responds while this lasts, on `port` or on a free one."""
    server = Silent(port)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def refusing() -> Iterator[str]:
    """Yield a URL whose port refuses connections, and that no other process gets while this lasts."""
    with socket.socket() as holder:
        # Bound, and not listening.
        holder.bind((HOST, 0))
        yield f"http://{HOST}:{holder.getsockname()[1]}"
