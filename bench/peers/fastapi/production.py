"""main.py in production's dress: traces, CORS, a JSON line a request and rate limits, by the usual packages."""

import os
import sys
import time

import structlog
from fastapi.middleware.cors import CORSMiddleware
from main import app
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Above each load.
LIMIT = "1000000/second"

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.JSONRenderer(),
    ],
    logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    cache_logger_on_first_use=True,
)
log = structlog.get_logger()

# The environment names the sampler and the collector.
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
AsyncPGInstrumentor().instrument()

app.state.limiter = Limiter(key_func=get_remote_address, default_limits=[LIMIT])
app.add_middleware(SlowAPIASGIMiddleware)


class RequestLog:
    """Log a line for each request, as ASGI middleware: `app.middleware` would cost FastAPI much more."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            milliseconds = round((time.perf_counter() - begun) * 1000, 2)
            log.info("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds)


app.add_middleware(RequestLog)
app.add_middleware(
    CORSMiddleware, allow_origins=[os.environ["FRONTEND_URL"]], allow_methods=["*"], allow_headers=["Authorization"]
)
FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
