"""What is counted of requests and statements, as OpenTelemetry's semantic conventions name it."""

import threading
from bisect import bisect_left
from typing import NamedTuple

# Seconds: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration
HTTP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# https://opentelemetry.io/docs/specs/semconv/database/database-metrics/#metric-dbclientoperationduration
DB_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)

Attributes = tuple[str | int, ...]


class Distribution(NamedTuple):
    """How many measurements fell between a histogram's bounds, and their sum."""

    counts: list[int]
    total: float


class Histogram:
    """Measurements in seconds, by the values of its attributes, since the process began."""

    def __init__(self, name: str, bounds: tuple[float, ...]) -> None:
        self.name = name
        self.bounds = bounds
        self._measured: dict[Attributes, list[float]] = {}
        self._recording = threading.Lock()

    def record(self, seconds: float, attributes: Attributes) -> None:
        """Count one."""
        place = bisect_left(self.bounds, seconds)
        with self._recording:
            measured = self._measured.get(attributes)
            if measured is None:
                # The counts, and at the end the sum.
                measured = self._measured[attributes] = [0.0] * (len(self.bounds) + 2)
            measured[place] += 1
            measured[-1] += seconds

    def read(self) -> dict[Attributes, Distribution]:
        """All so far."""
        with self._recording:
            return {
                attributes: Distribution([int(count) for count in measured[:-1]], measured[-1])
                for attributes, measured in self._measured.items()
            }


requests = Histogram("http.server.request.duration", HTTP_BOUNDS)
statements = Histogram("db.client.operation.duration", DB_BOUNDS)
