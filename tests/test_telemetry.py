"""Where telemetry goes: OpenTelemetry's standard variables."""

import pytest

from lib.config import Config
from lib.telemetry import Destination, Telemetry
from lib.tracing import Parent, Sampler
from tests.test_config import RIGHT

BASE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318/"}
TRACES = Destination("http://127.0.0.1:4318/v1/traces", {})
METRICS = Destination("http://127.0.0.1:4318/v1/metrics", {})
LOW, HIGH = bytes(16), b"\xff" * 16


def telemetry(**environ: str) -> Telemetry:
    """What the variables make of it."""
    return Config.from_env(RIGHT | environ).telemetry


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, None, None),
        (BASE, TRACES, METRICS),
        ({**BASE, "OTEL_SDK_DISABLED": "true"}, None, None),
        ({**BASE, "OTEL_TRACES_EXPORTER": "none"}, None, METRICS),
        ({**BASE, "OTEL_METRICS_EXPORTER": "none"}, TRACES, None),
        ({"OTEL_TRACES_EXPORTER": "console"}, None, None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, Destination("http://localhost:4318/v1/traces", {}), None),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a/b"}, Destination("http://a/b", {}), None),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://a/b"}, None, Destination("http://a/b", {})),
        (
            {**BASE, "OTEL_EXPORTER_OTLP_HEADERS": "key=a%3Db, x=y", "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x=z"},
            Destination(TRACES.url, {"key": "a=b", "x": "y"}),
            Destination(METRICS.url, {"key": "a=b", "x": "z"}),
        ),
    ],
)
def test_each_signal_goes_where_the_variables_say(
    environ: dict[str, str], traces: Destination | None, metrics: Destination | None
) -> None:
    found = telemetry(**environ)

    assert (found.traces, found.metrics) == (traces, metrics)
    assert found.is_console == (environ.get("OTEL_TRACES_EXPORTER") == "console")


def test_a_key_is_not_in_what_gets_printed() -> None:
    found = telemetry(**BASE, OTEL_EXPORTER_OTLP_HEADERS="x-honeycomb-team=s3cret")

    assert "s3cret" not in repr(found)


def test_a_process_says_who_it_is() -> None:
    one, other = (telemetry(OTEL_RESOURCE_ATTRIBUTES="a=b%20c,service.name=x").resource for _ in range(2))

    assert (one["service.name"], one["a"]) == ("x", "b c")
    assert one["service.instance.id"] != other["service.instance.id"]
    assert telemetry(OTEL_RESOURCE_ATTRIBUTES="service.name=x", OTEL_SERVICE_NAME="y").resource["service.name"] == "y"
    assert telemetry().resource["service.name"] == "cruddur"


@pytest.mark.parametrize(
    ("name", "argument", "takes"),
    [
        # A trace of its own with a low and a high id, and below a parent that is sampled and one that is not.
        ("", "", (True, True, True, False)),
        ("parentbased_always_on", "", (True, True, True, False)),
        ("always_on", "", (True, True, True, True)),
        ("always_off", "", (False, False, False, False)),
        ("parentbased_always_off", "", (False, False, True, False)),
        ("traceidratio", "0.5", (True, False, False, False)),
        ("parentbased_traceidratio", "0.5", (True, False, True, False)),
        ("traceidratio", "0", (False, False, False, False)),
        ("traceidratio", "1", (True, True, True, True)),
    ],
)
def test_the_sampler_is_the_one_that_is_named(name: str, argument: str, takes: tuple[bool, ...]) -> None:
    sampler: Sampler = telemetry(OTEL_TRACES_SAMPLER=name, OTEL_TRACES_SAMPLER_ARG=argument).sampler
    above = [Parent(HIGH, b"12345678", is_sampled) for is_sampled in (True, False)]

    found = (sampler.takes(LOW, None), sampler.takes(HIGH, None), *(sampler.takes(HIGH, parent) for parent in above))

    assert found == takes
