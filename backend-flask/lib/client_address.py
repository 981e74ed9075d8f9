"""The client's address: the connection's peer, or the address that a trusted proxy puts into `X-Forwarded-For`."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from flask import Flask, Request
from werkzeug.middleware.proxy_fix import ProxyFix

# An IPv6 subscriber has a network of 2**64 addresses (RFC 6177).
SUBSCRIBER_PREFIX = 64


def init_app(app: Flask, trusted_proxies: int) -> None:
    """Read the address from the header of the outermost of `trusted_proxies` proxies. With 0 the header is ignored."""
    if trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # wsgi_app is where Flask documents middleware
            app.wsgi_app, x_for=trusted_proxies, x_proto=0, x_host=0
        )


def client_network(request: Request) -> str:
    """Return the network that rate limits count by: an IPv4 address, or the first 64 bits of an IPv6 address."""
    peer = request.environ.get("werkzeug.proxy_fix.orig", {}).get("REMOTE_ADDR")
    # The header may hold any text. When it is no address, the limits count by the peer's network.
    return network(request.remote_addr or "") or network(peer or "") or "unknown"


@lru_cache(4096)
def network(address: str) -> str | None:
    """Return the network of `address`, `None` for a text that is no address."""
    try:
        ip = ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            return f"{int(ip) >> (128 - SUBSCRIBER_PREFIX):x}::/{SUBSCRIBER_PREFIX}"
        ip = ip.ipv4_mapped
    return str(ip)
