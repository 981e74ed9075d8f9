"""Who sees the requests of this process: made of the settings, once it serves."""

import time
from collections.abc import Callable
from multiprocessing.util import Finalize

from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from psycopg_pool import ConnectionPool

from lib import console, metrics
from lib.observing import Observed, Observers
from lib.otlp import Exporter
from lib.otlp_messages import counter, gauge, histogram
from lib.pool import Connection
from lib.telemetry import Telemetry

Pool = ConnectionPool[Connection]


def start_observing(telemetry: Telemetry, pool: Pool, log: Callable[[Observed, float], None] | None) -> Observers:
    """Where to what is seen goes. To be called after the fork: an exporter's thread does not survive it."""
    if telemetry.is_console:
        return Observers(telemetry.sampler, console.show, log)
    if telemetry.traces is None and telemetry.metrics is None:
        return Observers(log=log)
    since = time.time_ns()
    exporter = Exporter(telemetry, lambda: figures(pool, since))
    # A worker process ends without atexit; this runs, and sends what is still waiting.
    Finalize(None, exporter.close, exitpriority=10)
    return Observers(telemetry.sampler, exporter.keep if telemetry.traces else None, log, exporter.close)


def figures(pool: Pool, since: int) -> list[Metric]:
    """All that is counted in this process, since that many nanoseconds after the epoch."""
    stats = pool.get_stats()
    idle, size = stats.get("pool_available", 0), stats.get("pool_size", 0)
    request = ("http.request.method", "http.route", "http.response.status_code", "url.scheme")
    return [
        histogram(metrics.requests, request, since),
        histogram(metrics.statements, ("db.query.summary", "error.type", "db.system.name"), since),
        gauge("db.client.connection.count", "{connection}", idle, state="idle"),
        gauge("db.client.connection.count", "{connection}", size - idle, state="used"),
        gauge("db.client.connection.max", "{connection}", stats.get("pool_max", 0)),
        gauge("db.client.connection.pending_requests", "{request}", stats.get("requests_waiting", 0)),
        counter("db.client.connection.timeouts", "{timeout}", stats.get("requests_errors", 0), since),
    ]
