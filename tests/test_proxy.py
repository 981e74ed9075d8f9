"""The drills' network proxy: lost, delayed and reset connections."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from harness.proxy import Proxy, proxy

# After this many seconds without a response the proxy holds it back.
SOON = 0.5
# A response that the proxy lets through comes within this time, also on a busy machine.
LONG = 30


@contextmanager
def echo() -> Iterator[str]:
    """Run a server that echoes, and closes the connection after `bye`. Yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            # A reset connection is not the server's fault.
            with closing(connection), suppress(OSError):
                while (data := connection.recv(100)) and data != b"bye":
                    connection.sendall(data)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield str(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def network() -> Iterator[Proxy]:
    """Run a proxy to an echo server."""
    with echo() as port, proxy(port) as network:
        yield network


@pytest.fixture
def connection(network: Proxy) -> Iterator[socket.socket]:
    """Open a connection through the proxy."""
    with socket.create_connection(("127.0.0.1", int(network.port)), timeout=LONG) as connection:
        assert exchange(connection, b"hello") == b"hello"
        yield connection


def exchange(connection: socket.socket, data: bytes) -> bytes:
    """Send data and return the response."""
    connection.sendall(data)
    return connection.recv(100)


def is_silent(connection: socket.socket, data: bytes) -> bool:
    """Send data, and return whether no response comes soon."""
    connection.settimeout(SOON)
    try:
        exchange(connection, data)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(LONG)
    return False


def test_blackholed_data_arrives_after_recovery(network: Proxy, connection: socket.socket) -> None:
    network.blackhole()
    assert is_silent(connection, b"anybody?")

    network.recover()

    assert connection.recv(100) == b"anybody?"


def test_new_connection_is_accepted_but_silent_in_a_blackhole(network: Proxy) -> None:
    network.blackhole()

    with socket.create_connection(("127.0.0.1", int(network.port)), timeout=LONG) as connection:
        assert is_silent(connection, b"anybody?")


def test_recovery_may_drop_old_connections(network: Proxy, connection: socket.socket) -> None:
    network.blackhole()
    assert is_silent(connection, b"anybody?")

    network.recover_for_new()

    assert is_silent(connection, b"anybody?")
    with socket.create_connection(("127.0.0.1", int(network.port)), timeout=LONG) as another:
        assert exchange(another, b"hello") == b"hello"


def test_responses_alone_may_be_blackholed(network: Proxy, connection: socket.socket) -> None:
    network.drop_responses()
    assert is_silent(connection, b"anybody?")

    network.recover()

    assert connection.recv(100) == b"anybody?"


def test_delayed_response_arrives_after_recovery(network: Proxy, connection: socket.socket) -> None:
    network.delay(60)
    assert is_silent(connection, b"hurry")

    network.recover()

    assert connection.recv(100) == b"hurry"


def test_reset_connection_is_closed_refused_and_lost(network: Proxy, connection: socket.socket) -> None:
    network.drop_responses()
    assert is_silent(connection, b"anybody?")

    network.reset()

    with pytest.raises(ConnectionResetError):
        connection.recv(100)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(network.port)))
    network.recover()
    with socket.create_connection(("127.0.0.1", int(network.port)), timeout=LONG) as another:
        assert exchange(another, b"hello") == b"hello"


def test_close_is_forwarded(connection: socket.socket) -> None:
    assert exchange(connection, b"bye") == b""


def test_close_may_be_dropped(network: Proxy, connection: socket.socket) -> None:
    network.drop_fin()

    assert is_silent(connection, b"bye")
    assert is_silent(connection, b"still there?")
