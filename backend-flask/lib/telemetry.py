"""Where telemetry goes, and how: OpenTelemetry's standard variables, of which none is ours.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and, for what a collector is
told, https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

from lib.tracing import Sampler

# Where collectors listen unless told.
LOCAL = "http://localhost:4318"


@dataclass(frozen=True, slots=True)
class Destination:
    """A collector's URL for one signal, and what it wants to be told, such as a key."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What is exported, and by which rules. Nothing by default. Times are in seconds."""

    traces: Destination | None = None
    metrics: Destination | None = None
    # Whether each trace is told on the terminal.
    is_console: bool = False
    resource: Mapping[str, str] = field(default_factory=dict)
    sampler: Sampler = field(default_factory=Sampler)
    timeout: float = 10.0
    compression: str = "none"
    delay: float = 5.0
    interval: float = 60.0
    batch: int = 512
    queue: int = 8192

    @classmethod
    def of(cls, said: Mapping[str, Any], given: Collection[str]) -> Self:
        """What the settings say, `given` being the names of those that are no defaults."""
        if said["OTEL_SDK_DISABLED"] == "true":
            return cls()
        return cls(
            traces=destination("TRACES", said, given),
            metrics=destination("METRICS", said, given),
            is_console=said["OTEL_TRACES_EXPORTER"] == "console",
            resource=resource(said, given),
            sampler=Sampler.of(said["OTEL_TRACES_SAMPLER"], said["OTEL_TRACES_SAMPLER_ARG"]),
            timeout=said["OTEL_EXPORTER_OTLP_TIMEOUT"] / 1000,
            compression=said["OTEL_EXPORTER_OTLP_COMPRESSION"],
            delay=said["OTEL_BSP_SCHEDULE_DELAY"] / 1000,
            interval=said["OTEL_METRIC_EXPORT_INTERVAL"] / 1000,
            batch=said["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
            queue=said["OTEL_BSP_MAX_QUEUE_SIZE"],
        )


def destination(signal: str, said: Mapping[str, Any], given: Collection[str]) -> Destination | None:
    """Where the signal goes; None where it is not exported, or nobody says that and where to."""
    exporter, own = f"OTEL_{signal}_EXPORTER", f"OTEL_EXPORTER_OTLP_{signal}"
    base = said.get("OTEL_EXPORTER_OTLP_ENDPOINT") or (LOCAL if exporter in given else None)
    url = said.get(f"{own}_ENDPOINT") or (base and f"{base.rstrip('/')}/v1/{signal.lower()}")
    if said[exporter] != "otlp" or not url:
        return None
    return Destination(url, said["OTEL_EXPORTER_OTLP_HEADERS"] | said[f"{own}_HEADERS"])


def resource(said: Mapping[str, Any], given: Collection[str]) -> dict[str, str]:
    """Who sends it: the service and, by a uuid, the process."""
    name = {"service.name": said["OTEL_SERVICE_NAME"]}
    wins = name if "OTEL_SERVICE_NAME" in given else {}
    mine = {"service.instance.id": str(uuid4())}
    return {"telemetry.sdk.language": "python", **name, **said["OTEL_RESOURCE_ATTRIBUTES"], **wins, **mine}
