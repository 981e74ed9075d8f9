"""What goes to a collector, by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/), by a thread of its own."""

import gzip
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from http import HTTPStatus

import urllib3
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

from lib.otlp_messages import add, pair
from lib.telemetry import Destination, Telemetry
from lib.tracing import Trace

logger = logging.getLogger("cruddur")

SCOPE = InstrumentationScope(name="cruddur")
# Answers after which a batch may be sent again, and how long to wait before each time, in seconds.
TRY_AGAIN = {429, 502, 503, 504}
PAUSES = (1.0, 2.0, 4.0)
# For what is still waiting when the process ends.
FLUSH_SECONDS = 5.0


class Exporter:
    """Sends this process's spans and figures. To be made in the process that serves: threads do not survive a fork."""

    def __init__(self, telemetry: Telemetry, read: Callable[[], Iterable[Metric]]) -> None:
        self._telemetry = telemetry
        self._read = read
        self._resource = Resource(attributes=[pair(*each) for each in telemetry.resource.items()])
        self._batch = ScopeSpans(scope=SCOPE)
        self._full: deque[ScopeSpans] = deque()
        self._spans = 0
        self._filling = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._http = urllib3.PoolManager(timeout=telemetry.timeout, retries=False)
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many batches wait to be sent."""
        return len(self._full)

    def keep(self, trace: Trace) -> None:
        """Send the trace soon; or drop it, where the collector can't follow.

        It is encoded here and now: to another thread, on another processor, it would be cold.
        """
        if self._spans + len(trace.spans) > self._telemetry.queue:
            return
        with self._filling:
            for span in trace.spans:
                add(self._batch, trace, span)
            self._spans += len(trace.spans)
            if len(self._batch.spans) >= self._telemetry.batch:
                self._next_batch()
                self._wake.set()

    def _next_batch(self) -> None:
        self._full.append(self._batch)
        self._batch = ScopeSpans(scope=SCOPE)

    def close(self) -> None:
        """Send what is waiting, and end. What a collector does not take within seconds is lost."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        due = time.monotonic() + self._telemetry.interval
        while not self._stopping.is_set():
            if not self._wake.wait(min(self._telemetry.delay, max(0.0, due - time.monotonic()))):
                # What is no batch yet waited for more. To send each time what has just come
                # costs more than all else that is done for a trace.
                self._fill_up()
            self._wake.clear()
            # As many as there are now: others that come meanwhile do not hold the figures up.
            for _ in range(self.waiting):
                self._send_batch()
            if self._full:
                self._wake.set()
            if time.monotonic() >= due:
                self._send_metrics()
                due = time.monotonic() + self._telemetry.interval
        self._fill_up()
        while self._full:
            self._send_batch()
        self._send_metrics()

    def _fill_up(self) -> None:
        with self._filling:
            if self._batch.spans:
                self._next_batch()

    def _send_batch(self) -> None:
        batch = self._full.popleft()
        with self._filling:
            self._spans -= len(batch.spans)
        to = self._telemetry.traces
        if to is not None:
            spans = ResourceSpans(resource=self._resource, scope_spans=[batch])
            self._post(to, ExportTraceServiceRequest(resource_spans=[spans]).SerializeToString())

    def _send_metrics(self) -> None:
        to = self._telemetry.metrics
        if to is not None:
            request = ExportMetricsServiceRequest()
            resource_metrics = request.resource_metrics.add(resource=self._resource)
            resource_metrics.scope_metrics.add(scope=SCOPE, metrics=self._read())
            self._post(to, request.SerializeToString())

    def _post(self, to: Destination, body: bytes) -> None:
        headers = {"Content-Type": "application/x-protobuf", **to.headers}
        if self._telemetry.compression == "gzip":
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, 1)
        for pause in (*PAUSES, None):
            said = self._try(to.url, headers, body)
            if said == "" or pause is None or self._stopping.wait(pause):
                break
        if said:
            logger.warning("%s takes no telemetry: %s", to.url, said)

    def _try(self, url: str, headers: dict[str, str], body: bytes) -> str:
        try:
            status = self._http.request("POST", url, body=body, headers=headers).status
        except urllib3.exceptions.HTTPError as error:
            return type(error).__name__
        if status in TRY_AGAIN:
            return str(status)
        if status >= HTTPStatus.BAD_REQUEST:
            logger.warning("%s refuses telemetry: %s", url, status)
        return ""
