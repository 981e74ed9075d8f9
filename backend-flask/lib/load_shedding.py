"""Load shedding: a request that has waited for longer than its deadline is not run, for its client has gone."""

import re
import time
from typing import TYPE_CHECKING

from flask import Flask, request

from lib.exceptions import Overloaded
from lib.request_log import HEALTH_CHECKS

if TYPE_CHECKING:
    from lib.config import Config

# As nginx writes its $msec: seconds since the epoch, to the millisecond.
REQUEST_START = re.compile(r"t=([0-9]{1,12}\.[0-9]{3})")


def init_app(app: Flask, config: "Config") -> None:
    """Shed old requests by the proxy's `X-Request-Start`. Without a trusted proxy a client could forge it."""
    if config.trusted_proxies == 0:
        return

    def shed_old_request() -> None:
        """Raise `Overloaded` for a request that reached the proxy too long ago."""
        is_old = queue_seconds(request.headers.get("X-Request-Start", "")) > config.database_timeout
        # A worker that answers a health check is alive, however late.
        if is_old and request.path not in HEALTH_CHECKS:
            raise Overloaded

    app.before_request(shed_old_request)


def queue_seconds(started: str) -> float:
    """Return how long ago the proxy got the request, 0 when `started` does not say."""
    match = REQUEST_START.fullmatch(started)
    return time.time() - float(match[1]) if match else 0.0
