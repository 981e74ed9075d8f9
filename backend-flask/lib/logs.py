"""The log: for machines one JSON object a line, for people on a terminal a line that they can read."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from lib.observing import Observed, observed


def start_logging(*, is_json: bool) -> None:
    """Have all that is logged in this process told on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(AsJson() if is_json else AsText())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class AsJson(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, with the request that it came from."""
        told: dict[str, Any] = {"time": now(), "level": record.levelname.lower(), "message": record.getMessage()}
        request = observed()
        if request is not None:
            told |= {"trace_id": request.trace_id.hex(), "request_id": request.request_id, "route": request.route}
        return json.dumps(told)


class AsText(logging.Formatter):
    """For a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The time of day, and the message."""
        return f"{datetime.now():%H:%M:%S} {record.levelname.lower()}: {record.getMessage()}"


def log_as_json(request: Observed, seconds: float) -> None:
    """Tell of a request, in one write. None of its parts has a sign that JSON would have quoted."""
    sys.stderr.write(
        f'{{"time": "{now()}", "level": "info", "message": "request", "trace_id": "{request.trace_id.hex()}", '
        f'"request_id": "{request.request_id}", "method": "{request.method}", "route": "{request.route}", '
        f'"status": {request.status}, "duration_ms": {seconds * 1000:.2f}}}\n'
    )


def log_as_text(request: Observed, seconds: float) -> None:
    """Tell of a request on a terminal."""
    what = f"{request.method} {request.route or '(no such path)'} {request.status}"
    print(f"{datetime.now():%H:%M:%S} {what} {seconds * 1000:.1f} ms {request.request_id[:8]}", file=sys.stderr)


def now() -> str:
    """The time in UTC (RFC 3339)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
