"""OpenTelemetry: sampling, metrics, the export at the end of a process, and invalid settings."""

import re
import signal
from collections.abc import Callable

import pytest
from flask import Flask
from opentelemetry.util.re import parse_env_headers

from harness.collector import Collector, attributes, collecting
from harness.ports import free_port
from harness.stubs import StubRequest, StubResponse, http_stub
from tests.factories import Make
from tests.processes import running
from tests.service import RIGHT, fails, faults, get, process_fails
from tests.telemetry import Watched, flush, watched

HOME = "/api/activities/home"
MARKER = "f1nd-me"


def test_sampler_is_selected_by_its_name(
    subtests: pytest.Subtests, service_url: str, jwks_url: str, collector: Collector
) -> None:
    trace_id = "f" * 32
    requests = [{}, *({"traceparent": f"00-{trace_id}-b7ad6b7169203331-0{flag}"} for flag in (1, 0))]

    for (name, argument), sampled in (
        # Without a parent, with a sampled parent, and with an unsampled parent.
        (("parentbased_always_on", 1.0), (True, True, False)),
        (("always_on", 1.0), (True, True, True)),
        (("always_off", 1.0), (False, False, False)),
        (("parentbased_always_off", 1.0), (False, True, False)),
        # The client's sampled flag does not decide. The trace id does, and is high here.
        (("traceidratio", 0.5), (None, False, False)),
        (("parentbased_traceidratio", 0.0), (False, True, False)),
        (("traceidratio", 0.0), (False, False, False)),
        (("traceidratio", 1.0), (True, True, True)),
    ):
        app = watched(service_url, jwks_url, collector, otel_traces_sampler=name, otel_traces_sampler_arg=argument)
        for headers, expected in zip(requests, sampled, strict=True):
            with subtests.test(name, argument=argument, headers=headers):
                collector.clear()
                assert app.test_client().get("/api/activities/search?term=x", headers=headers).status_code == 200
                assert expected in {None, bool(Watched(app, collector).trees())}
        app.extensions["database_pool"].close()


@pytest.mark.parametrize("length", [512, 513])
def test_long_tracestate_is_dropped(service: Watched, length: int) -> None:
    state = ",".join(f"v{n}={'x' * 60}" for n in range(7))
    state += f",last={'y' * (length - len(state) - 6)}"
    assert len(state) == length
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    service.app.test_client().get(HOME, headers={"traceparent": traceparent, "tracestate": state})

    (tree,) = service.trees()
    assert tree.span.trace_state == (state if length == 512 else "")
    assert tree.span.trace_id.hex() == traceparent.split("-")[1]


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
def test_duration_metric_counts_each_request_once(
    service_url: str, jwks_url: str, collector: Collector, make: Make, sampler: str
) -> None:
    make.user("lin")
    app = watched(service_url, jwks_url, collector, otel_traces_sampler=sampler)
    client = app.test_client()

    def count() -> dict[tuple[tuple[str, str | int | float], ...], int]:
        collector.clear()
        flush()
        (figures,) = collector.last_metrics().values()
        assert "http.server.active_requests" not in figures
        points = figures["http.server.request.duration"].histogram.data_points
        return {tuple(sorted(attributes(point.attributes).items())): point.count for point in points}

    client.get("/nope")
    before = count()
    for path in ("/api/activities/@lin", "/api/activities/@missing", "/nope", "/livez"):
        client.get(path, headers={"User-Agent": MARKER})
    after = count()

    common = {"http.request.method": "GET", "url.scheme": "http"}
    route = {"http.route": "/api/activities/@<handle>"}
    expected = [{**route, "http.response.status_code": status} for status in (200, 404)]
    expected.append({"http.response.status_code": 404})
    keys = [tuple(sorted({**common, **each}.items())) for each in expected]
    assert {
        key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key)
    } == dict.fromkeys(keys, 1)
    app.extensions["database_pool"].close()


def test_malformed_header_setting_is_logged_without_its_value(
    service: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    assert service.app.name == "app"

    parse_env_headers("s3cret-without-a-name", liberal=True)

    assert "Header format invalid" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.slow
def test_two_processes_export_everything_at_sigterm(service_url: str, make: Make) -> None:
    author = make.user()
    with collecting() as collector:
        port = free_port()
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        }
        with running("serve", **{**RIGHT, "CONNECTION_URL": service_url, "PORT": port, **settings}) as server:
            assert get(port, "/livez")[0] == 200
            for _ in range(300):
                assert get(port, f"/api/users/@{author.handle}/short")[0] == 200
            server.send_signal(signal.SIGTERM)
            _, err = server.communicate(timeout=30)

        assert faults(err) == []
        assert len(collector.trees()) == 300
        assert len(collector.instances()) == 2
        figures = collector.last_metrics()
        assert figures.keys() == collector.instances().keys()
        counts = [
            sum(point.count for point in metrics[name].histogram.data_points)
            for name in ("http.server.request.duration", "db.client.operation.duration")
            for metrics in figures.values()
        ]
        assert (sum(counts[:2]), sum(counts[2:])) == (300, 300)
        for metrics in figures.values():
            connections = {
                str(attributes(point.attributes)["state"]): point.as_int
                for name in ("db.client.connection.count",)
                for metric in (metrics[name],)
                for point in metric.gauge.data_points
            }
            assert connections.keys() <= {"idle", "used"}


def test_without_exporter_no_hook_is_installed(app: Flask) -> None:
    assert "wsgi_app" not in vars(app)
    hooks = [*app.before_request_funcs[None], *app.after_request_funcs[None], *app.teardown_request_funcs.get(None, [])]
    assert [hook.__module__ for hook in hooks if re.search("telemetry", hook.__module__)] == []
    assert app.test_client().get(HOME).headers["Server-Timing"]


@pytest.mark.slow
@pytest.mark.parametrize("status", [301, 302, 304, 307, 308])
def test_redirecting_collector_is_logged_as_a_failed_export(service_url: str, status: int) -> None:
    paths: list[str] = []

    def redirect(request: StubRequest) -> StubResponse:
        paths.append(request.path)
        return StubResponse(status, headers={"Location": f"https://{MARKER}.example{request.path}"})

    port = free_port()
    with http_stub(redirect) as endpoint:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "WEB_CONCURRENCY": "1"}
        with running("serve", **{**RIGHT, "CONNECTION_URL": service_url, "PORT": port, **settings}) as server:
            assert get(port, HOME)[0] == 200
            server.send_signal(signal.SIGTERM)
            _, err = server.communicate(timeout=30)

    assert set(paths) == {"/v1/traces", "/v1/metrics"}
    reason = f"the collector answers {status}, a redirect: set the endpoint to where it leads"
    assert sorted(faults(err)) == [
        f"Failed to export {kind} batch code: None, reason: {reason}" for kind in ("metrics", "spans")
    ]


@pytest.mark.parametrize(
    ("fails", "name", "value", "said"),
    [
        (
            fails,
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-honeycomb-team=“s3cret”",
            "OTEL_EXPORTER_OTLP_HEADERS is malformed: a value",
        ),
        (
            fails,
            "OTEL_METRICS_EXEMPLAR_FILTER",
            "s",
            "OTEL_METRICS_EXEMPLAR_FILTER is malformed: it is none of the choices",
        ),
        # The SDK reads this setting at its import.
        (
            process_fails,
            "OTEL_PROPAGATORS",
            "b4",
            "OpenTelemetry's SDK refuses one of its OTEL_ settings: Propagator b4 not found",
        ),
        (
            process_fails,
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            "many",
            "OpenTelemetry's SDK refuses one of its OTEL_ settings: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be",
        ),
    ],
)
def test_setting_that_the_sdk_would_drop_or_fail_on_is_refused(
    fails: Callable[..., list[str]], name: str, value: str, said: str
) -> None:
    (line,) = fails(**{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value})

    assert line.startswith(f"cruddur: {said}")
    assert "s3cret" not in line


@pytest.mark.slow
def test_empty_sdk_variable_counts_as_unset(service_url: str) -> None:
    empty = dict.fromkeys(
        [
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "OTEL_METRICS_EXEMPLAR_FILTER",
            "OTEL_SEMCONV_STABILITY_OPT_IN",
            "OTEL_PROPAGATORS",
        ],
        "",
    )
    with collecting() as collector:
        port = free_port()
        settings = {**RIGHT, **empty, "CONNECTION_URL": service_url, "PORT": port, "WEB_CONCURRENCY": "1"}
        with running("serve", **settings, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as server:
            assert get(port, HOME)[0] == 200
            server.send_signal(signal.SIGTERM)
            _, err = server.communicate(timeout=30)

    assert faults(err) == []
    assert attributes(collector.spans()[0].attributes)
