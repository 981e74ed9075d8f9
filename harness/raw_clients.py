"""Clients that send bytes of their own making, and nothing after them: on sockets, many at once."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

from harness.waiting import repeating

CONNECT_SECONDS = 5.0
# Senders of bodies of each kind, the seconds between two bytes, and those before a refused client returns.
SENDERS, BYTE_SECONDS, RETURN_SECONDS = 16, 10, 1
POST, GET = "POST /api/activities", "GET /api/activities/notifications"


def connect(url: str) -> socket.socket:
    """Return a connection to the server at `url`."""
    parts = urlsplit(url)
    return socket.create_connection((str(parts.hostname), parts.port or 80), timeout=CONNECT_SECONDS)


@contextmanager
def raw_clients(url: str, count: int, sent: bytes = b"", receive_buffer: int = 0) -> Iterator[list[socket.socket]]:
    """Open so many connections, send the same bytes on each, and read nothing; close them at the end."""
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(connect(url))
            if receive_buffer:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            client.sendall(sent)
            clients.append(client)
        yield clients


def exchange(url: str, sent: bytes, seconds: float = CONNECT_SECONDS) -> bytes:
    """Return the response to these bytes, until the server closes or is silent for so many seconds."""
    received = b""
    with connect(url) as client, suppress(OSError):
        client.settimeout(seconds)
        client.sendall(sent)
        while data := client.recv(65536):
            received += data
    return received


def status(response: bytes) -> int:
    """Return the status of a raw response, 0 for none."""
    line = response.partition(b"\r\n")[0].split()
    return int(line[1]) if len(line) > 1 and line[1].isdigit() else 0


def is_closed(client: socket.socket) -> bool:
    """Return whether the server has closed the connection. Received bytes are read and dropped."""
    client.settimeout(0)
    try:
        while client.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def slow_senders(url: str, token: str) -> Iterator[None]:
    """Have clients send the body of a POST a byte at a time, and as many never send the body of a GET."""
    senders = [SlowSender(url, start, token) for start in (POST, GET) for _ in range(SENDERS)]

    def proceed() -> None:
        for sender in senders:
            sender.proceed()

    try:
        with repeating(proceed, 0.1):
            # Until all of them have begun.
            time.sleep(RETURN_SECONDS)
            yield
    finally:
        for sender in senders:
            sender.close()


class SlowSender:
    """A client whose request is never complete. After a refusal it returns."""

    def __init__(self, url: str, start: str, token: str) -> None:
        self._url = url
        self._is_silent = start == GET
        self._head = (
            f"{start} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        ).encode()
        self._connection: socket.socket | None = None
        self._next = 0.0

    def proceed(self) -> None:
        """Begin, send a byte, or notice that the server has closed the connection, if it is time."""
        now = time.monotonic()
        if self._connection is not None and is_closed(self._connection):
            self.close()
            self._next = now + RETURN_SECONDS
        if now < self._next:
            return
        self._next = now + BYTE_SECONDS
        # A busy server may not accept the connection in time.
        with suppress(OSError):
            if self._connection is None:
                self._connection = connect(self._url)
                self._connection.sendall(self._head)
            elif not self._is_silent:
                self._connection.sendall(b" ")

    def close(self) -> None:
        """Leave."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
