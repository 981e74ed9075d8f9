"""Clients that send bytes of their own making, and nothing after them: on sockets, many at once."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

from harness.load import Answer, Client

CONNECT_SECONDS = 5.0


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
    """Return what the server says to these bytes until it closes, or falls silent for so many seconds."""
    received = b""
    with connect(url) as client, suppress(OSError):
        client.settimeout(seconds)
        client.sendall(sent)
        while data := client.recv(65536):
            received += data
    return received


def is_closed(client: socket.socket) -> bool:
    """Return whether the server has closed the connection. What it has said is read and forgotten."""
    client.settimeout(0)
    try:
        while client.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def ask_repeatedly(url: str, path: str, times: int, pause: float) -> Sequence[Answer]:
    """Return the answers to so many requests, each on a connection of its own."""
    answers = []
    for _ in range(times):
        client = Client(url, timeout=10)
        answers.append(client.get(path))
        client.close()
        time.sleep(pause)
    return answers
