"""OpenTelemetry: spans, and where they go. With no exporter named they cost next to nothing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing.util import Finalize
from threading import Event

from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode

from lib.errors import is_fault

tracer = trace.get_tracer("cruddur")
NO_SPAN = nullcontext(trace.INVALID_SPAN)
tracing = Event()


def span(name: str) -> AbstractContextManager[Span]:
    """A span around one use case. A fault of ours marks it, by its class: its text may quote a row."""
    return recorded(name) if tracing.is_set() else NO_SPAN


@contextmanager
def recorded(name: str) -> Iterator[Span]:
    """The span, for the exporter."""
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as current:
        try:
            yield current
        except Exception as error:
            if is_fault(error):
                current.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def start_tracing(exporter: str) -> None:
    """Export this process's spans by `exporter`: `otlp`, `console` or `none`.

    Where to and how is for the standard `OTEL_*` variables to say. To be called in the
    process that serves: the exporter's thread does not survive a fork.
    """
    if exporter == "none":
        return
    # Not at the top: they take longer to import than all the rest of the service.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    ours = Resource({SERVICE_NAME: "cruddur"})
    provider = TracerProvider(resource=Resource.create().merge(ours).merge(OTELResourceDetector().detect()))
    send = ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(send))
    trace.set_tracer_provider(provider)
    tracing.set()
    # A worker process ends without atexit; this runs, and sends what is still waiting.
    Finalize(None, provider.shutdown, exitpriority=10)
