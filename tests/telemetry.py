"""A service whose telemetry goes to a collector, in the test's own process."""

from typing import Any, NamedTuple

import pytest
from flask import Flask
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from app import create_app
from harness.collector import Collector
from lib.config import Config
from lib.exporters import providers
from tests import tokens


class Watched(NamedTuple):
    """A service whose telemetry goes to a collector."""

    app: Flask
    collector: Collector

    def trees(self) -> Any:
        """Return the traces of all requests so far."""
        flush()
        return self.collector.trees()


def flush() -> None:
    """Export what waits."""
    for provider in providers():
        if isinstance(provider, TracerProvider | MeterProvider):
            provider.force_flush()


def watched(service_url: str, jwks_url: str, collector: Collector, **settings: Any) -> Flask:
    """Create a service that exports to the collector of this process."""
    config = Config(
        connection_url=service_url,
        frontend_urls=("http://localhost:3000",),
        otel_traces_exporter="otlp",
        otel_metrics_exporter="otlp",
        **tokens.pool(jwks_url),
        **settings,
    )
    # The SDK reads its variables when the first service is created.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-honeycomb-team=key")
        return create_app(config)
