"""The network of the drills: that it does to a connection what it is told to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from harness.proxy import Proxy, proxy

# Longer than an echo takes, and short enough to be waited for.
SOON = 0.5


@contextmanager
def echo() -> Iterator[str]:
    """A server that sends back what it gets, and hangs up after `bye`. Its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            # A connection that is cut off is no fault of this server's.
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
    """A proxy to a server that sends back what it gets."""
    with echo() as port, proxy(port) as network:
        yield network


@pytest.fixture
def connection(network: Proxy) -> Iterator[socket.socket]:
    """A connection through the proxy, which hears an answer soon or not at all."""
    with socket.create_connection(("127.0.0.1", int(network.port)), timeout=SOON) as connection:
        assert heard(connection, b"hello") == b"hello"
        yield connection


def heard(connection: socket.socket, said: bytes) -> bytes | None:
    """What is answered, soon; None if nothing is."""
    connection.sendall(said)
    try:
        return connection.recv(100)
    except TimeoutError:
        return None


def test_what_is_swallowed_arrives_when_the_network_is_well(network: Proxy, connection: socket.socket) -> None:
    network.blackhole()
    assert heard(connection, b"anybody?") is None

    network.recover()

    assert connection.recv(100) == b"anybody?"


def test_a_new_connection_is_accepted_and_hears_nothing_while_all_is_swallowed(network: Proxy) -> None:
    network.blackhole()

    with socket.create_connection(("127.0.0.1", int(network.port)), timeout=SOON) as connection:
        assert heard(connection, b"anybody?") is None


def test_a_network_that_comes_back_may_know_nothing_of_old_connections(
    network: Proxy, connection: socket.socket
) -> None:
    network.blackhole()
    assert heard(connection, b"anybody?") is None

    network.recover_for_new()

    assert heard(connection, b"anybody?") is None
    with socket.create_connection(("127.0.0.1", int(network.port)), timeout=SOON) as another:
        assert heard(another, b"hello") == b"hello"


def test_answers_may_be_swallowed_alone(network: Proxy, connection: socket.socket) -> None:
    network.drop_responses()
    assert heard(connection, b"anybody?") is None

    network.recover()

    assert connection.recv(100) == b"anybody?"


def test_an_answer_that_is_late_is_so_until_the_network_is_well(network: Proxy, connection: socket.socket) -> None:
    network.delay(60)
    assert heard(connection, b"hurry") is None

    network.recover()

    assert connection.recv(100) == b"hurry"


def test_what_is_cut_is_reset_and_refused_and_lost(network: Proxy, connection: socket.socket) -> None:
    network.drop_responses()
    assert heard(connection, b"anybody?") is None

    network.reset()

    with pytest.raises(ConnectionResetError):
        connection.recv(100)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(network.port)))
    network.recover()
    with socket.create_connection(("127.0.0.1", int(network.port)), timeout=SOON) as another:
        assert heard(another, b"hello") == b"hello"


def test_a_farewell_is_heard(connection: socket.socket) -> None:
    assert heard(connection, b"bye") == b""


def test_a_farewell_may_be_swallowed(network: Proxy, connection: socket.socket) -> None:
    network.drop_fin()

    assert heard(connection, b"bye") is None
    assert heard(connection, b"still there?") is None
