"""Load shedding: the service rejects a request that has waited longer than its deadline, for its client has gone."""

import re
import time
from typing import TYPE_CHECKING

from flask import Flask, request

from lib.exceptions import Overloaded
from lib.request_log import HEALTH_CHECKS

if TYPE_CHECKING:
    from lib.config import Config

# The format of nginx's $msec: seconds since the epoch, to the millisecond.
REQUEST_START = re.compile(r"t=([0-9]{1,12}\.[0-9]{3})")


def init_app(app: Flask, config: "Config") -> None:
    """Shed old requests by the proxy's `X-Request-Start`. Without a trusted proxy a client could forge it."""
    if config.trusted_proxies == 0:
        return

    def shed_old_request() -> None:
        """Raise `Overloaded` for a request that reached the proxy too long ago."""
        is_old = queue_seconds(request.headers.get("X-Request-Start", "")) > config.database_timeout
        # Health checks are never shed: also a late response shows that the worker is alive.
        if is_old and request.path not in HEALTH_CHECKS:
            raise Overloaded

    app.before_request(shed_old_request)


def queue_seconds(header: str) -> float:
    """Return the seconds since the proxy received the request, 0 for a missing or malformed header."""
    match = REQUEST_START.fullmatch(header)
    return time.time() - float(match[1]) if match else 0.0
