"""TCP ports of this machine."""

import random
import socket

HOST = "127.0.0.1"
# The kernel gives outgoing connections higher ports only, so a free port of this range stays free.
QUIET_PORTS = range(20_000, 32_000)


def free_port() -> str:
    """Return a port without a listener."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return str(probe.getsockname()[1])


def quiet_port() -> str:
    """Return a port without a listener, outside of the kernel's range for outgoing connections."""
    while is_listening(port := str(random.choice(QUIET_PORTS))):
        pass
    return port


def is_listening(port: str) -> bool:
    """Return whether a server takes connections on the port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, int(port))) == 0
