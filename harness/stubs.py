"""Servers on 127.0.0.1 that are of no use: one accepts connections and never answers, the other refuses them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"


class Silent:
    """One that accepts, hears, and says nothing."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server((HOST, port))
        self.port = self._listener.getsockname()[1]
        # Kept open: to let go of one would be to close it.
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)

    def stop(self) -> None:
        """End, with all connections."""
        # The one way to have a thread that waits in accept go on.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._listener, *self.connections):
            each.close()


@contextmanager
def silent(port: int = 0) -> Iterator[Silent]:
    """One that says nothing, on `port` or on one of its own, while this lasts."""
    made = Silent(port)
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def refusing() -> Iterator[int]:
    """A port on which connections are refused, and that nobody else gets while this lasts."""
    with socket.socket() as holder:
        # Bound, and not listening.
        holder.bind((HOST, 0))
        yield int(holder.getsockname()[1])
