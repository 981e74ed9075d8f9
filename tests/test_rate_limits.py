"""Rate limits: requests per minute and user or network, and the response beyond the limit."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from limits.storage import RedisStorage
from werkzeug.test import TestResponse

from app import create_app
from harness.collector import Collector
from harness.ports import free_port, is_listening
from harness.processes import launch
from harness.stubs import silent
from harness.waiting import wait_until
from lib import rate_limit_storage
from lib.cognito import Cognito
from lib.config import Config
from lib.rate_limit_storage import BoundedMemoryStorage
from tests import tokens
from tests.clock import Clock
from tests.conftest import FRONTEND
from tests.factories import Make, User
from tests.telemetry import Watched, watched

HOME, NOTIFICATIONS = "/api/activities/home", "/api/activities/notifications"
SEARCH = "/api/activities/search?term=rust"
ACTIVITY = {"message": "hello", "ttl": "1-day"}
PROXY = "10.0.0.1"
Limited = Callable[..., Flask]


@pytest.fixture
def limited(service_url: str, jwks_url: str) -> Iterator[Limited]:
    """Return a factory of applications with other limits."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Flask:
            limits = {f"rate_limit_{name}": value for name, value in settings.items() if name != "trusted_proxies"}
            others = {name: value for name, value in settings.items() if name == "trusted_proxies"}
            config = Config(
                connection_url=service_url, frontend_urls=(FRONTEND,), **limits, **others, **tokens.pool(jwks_url)
            )
            app = create_app(config)
            stack.callback(app.extensions["database_pool"].close)
            return app

        yield make


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock of the windows, and the time of day with it."""
    clock = Clock()
    monkeypatch.setattr(rate_limit_storage, "time", SimpleNamespace(monotonic=clock.monotonic, time=clock.monotonic))
    monkeypatch.setattr("lib.rate_limits.time", SimpleNamespace(time=clock.monotonic))
    return clock


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[str]:
    """Run a Redis for this test, and yield its port."""
    with redis(free_port(), tmp_path) as server:
        yield server.port


class redis:  # noqa: N801 - a context manager
    """A running Redis without persistence."""

    def __init__(self, port: str, folder: Path) -> None:
        program = which("redis-server")
        if program is None:
            pytest.skip("needs redis-server")
        self.port = port
        options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
        self.process = launch([program, *options])
        wait_until(lambda: is_listening(port))

    def stop(self) -> None:
        """Kill the server."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> "redis":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def statuses(count: int, send: Callable[[], TestResponse]) -> list[int]:
    """Return the statuses of consecutive requests."""
    return [send().status_code for _ in range(count)]


def from_address(app: Flask, address: str, **headers: str) -> TestResponse:
    """Read the home feed from an address."""
    return app.test_client().get(HOME, environ_overrides={"REMOTE_ADDR": address}, headers=headers)


def as_user(app: Flask, user: User) -> FlaskClient:
    """Return a client with the user's token."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = tokens.bearer(user.cognito_user_id)["Authorization"]
    return client


def quota(response: TestResponse) -> tuple[str, int]:
    """Return the policy that a response names, and the remaining quota."""
    name, remaining = re.fullmatch(r'"([a-z-]+)";r=(\d+);t=\d+', response.headers["RateLimit"]).groups()
    return name, int(remaining)


def test_anonymous_reads_are_limited_including_cached_pages(limited: Limited, make: Make) -> None:
    client = limited(anonymous_reads=3).test_client()
    user = make.user("lin")

    assert statuses(2, lambda: client.get(HOME)) == [200, 200]
    assert client.head(f"/api/activities/@{user.handle}").status_code == 200
    assert statuses(2, lambda: client.get(HOME)) == [429, 429]


def test_invalid_token_on_a_public_route_counts_as_an_anonymous_read(
    subtests: pytest.Subtests, limited: Limited
) -> None:
    app = limited(anonymous_reads=2, rejected_tokens=1)

    for n, authorization in enumerate(("Bearer null", "Bearer a.b.c", "Basic eDp5", "Bearer")):
        with subtests.test(authorization):
            read = partial(from_address, app, f"192.0.2.{n}", Authorization=authorization)
            assert statuses(3, read) == [200, 200, 429]


def test_reads_are_limited_per_user_at_any_address(limited: Limited, make: Make) -> None:
    app = limited(user_reads=3, anonymous_reads=1)
    lin, mira = as_user(app, make.user()), as_user(app, make.user())

    assert lin.get(HOME).status_code == 200
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        response = lin.get(NOTIFICATIONS, environ_overrides={"REMOTE_ADDR": address})
        assert response.status_code == (429 if address == "192.0.2.3" else 200)
    assert statuses(4, lambda: mira.get(HOME)) == [200, 200, 200, 429]
    # Neither user's requests counted as anonymous reads.
    assert statuses(2, lambda: app.test_client().get(HOME)) == [200, 429]


@pytest.mark.usefixtures("bystander")
def test_writes_are_limited_per_user_apart_from_reads(limited: Limited, make: Make) -> None:
    app = limited(user_writes=2, user_reads=10)
    lin, mira = as_user(app, make.user()), as_user(app, make.user())
    own = lin.post("/api/activities", json=ACTIVITY).json["uuid"]

    assert statuses(1, lambda: lin.post("/api/activities", json=ACTIVITY)) == [200]
    assert lin.post("/api/activities", json=ACTIVITY).json == ["too_many_requests"]
    assert lin.delete(f"/api/activities/{own}").status_code == 429
    assert make.messages() == ["hello", "hello"]
    assert lin.get(NOTIFICATIONS).status_code == 200
    assert mira.post("/api/activities", json=ACTIVITY).status_code == 200


@pytest.mark.usefixtures("bystander")
def test_likes_and_reposts_count_as_writes(limited: Limited, make: Make) -> None:
    app = limited(user_writes=2, user_reads=10)
    lin, activity = as_user(app, make.user()), make.activity(make.user())
    like, repost = (f"/api/activities/{activity.uuid}/{name}" for name in ("like", "repost"))

    assert quota(lin.put(like)) == ("user-writes", 1)
    assert quota(lin.delete(repost)) == ("user-writes", 0)
    for path, method in ((like, "DELETE"), (repost, "PUT")):
        refused = lin.open(path, method=method)
        assert (refused.status_code, refused.json) == (429, ["too_many_requests"])
    assert (len(make.likes(activity)), make.reposts(activity)) == (1, [])


@pytest.mark.usefixtures("bystander")
def test_follows_count_as_writes(limited: Limited, make: Make) -> None:
    app = limited(user_writes=2, user_reads=10)
    lin, followed = as_user(app, make.user()), make.user()
    path = f"/api/users/@{followed.handle}/follow"

    assert quota(lin.put(path)) == ("user-writes", 1)
    assert quota(lin.delete(path)) == ("user-writes", 0)
    refused = lin.put(path)

    assert (refused.status_code, refused.json) == (429, ["too_many_requests"])
    assert make.follows() == []


def test_searches_are_limited_per_user_or_network_apart_from_reads(limited: Limited, make: Make) -> None:
    app = limited(searches=2, anonymous_reads=1, user_reads=1)
    lin = as_user(app, make.user())

    assert statuses(3, lambda: app.test_client().get(SEARCH)) == [200, 200, 429]
    assert app.test_client().get(SEARCH, headers={"Authorization": "Bearer x"}).status_code == 429
    assert app.test_client().get(HOME).status_code == 200
    # A user has an own quota, on whatever network.
    assert statuses(3, lambda: lin.get(SEARCH)) == [200, 200, 429]
    assert lin.get(HOME).status_code == 200
    assert from_address(app, "192.0.2.9").status_code == 200


def test_rejected_tokens_are_limited_before_verification(
    limited: Limited, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = limited(rejected_tokens=2)
    client, bad, good = app.test_client(), tokens.bearer("nobody", exp=1), tokens.bearer(make.user().cognito_user_id)
    verified: list[str] = []
    verify = Cognito.verify

    def verify_and_record(self: Cognito, text: str) -> Any:
        verified.append(text)
        return verify(self, text)

    monkeypatch.setattr(Cognito, "verify", verify_and_record)

    assert client.get(NOTIFICATIONS, headers=good).status_code == 200
    rejected = [client.get(NOTIFICATIONS, headers=bad) for _ in range(2)]
    assert [response.status_code for response in rejected] == [401, 401]
    assert [quota(response) for response in rejected] == [("rejected-tokens", 1), ("rejected-tokens", 0)]
    del verified[:]
    for headers in (bad, good):
        response = client.post("/api/activities", json=ACTIVITY, headers=headers)
        assert (response.status_code, response.json) == (429, ["too_many_requests"])
        assert quota(response) == ("rejected-tokens", 0)
    assert verified == []
    assert make.messages() == []
    # Other addresses are not refused, nor is this client on a public route.
    assert client.get(NOTIFICATIONS, headers=good, environ_overrides={"REMOTE_ADDR": "192.0.2.9"}).status_code == 200
    assert client.get(HOME, headers=bad).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer null"}])
def test_missing_token_does_not_count_as_rejected(limited: Limited, headers: dict[str, str]) -> None:
    client = limited(rejected_tokens=1).test_client()

    assert statuses(3, lambda: client.get(NOTIFICATIONS, headers=headers)) == [401, 401, 401]


def test_health_checks_and_documentation_are_not_limited(subtests: pytest.Subtests, limited: Limited) -> None:
    client = limited(anonymous_reads=1).test_client()

    for path in (
        *("/livez", "/readyz", "/api/health-check", "/", "/@missing", "/web/0/app.js"),
        *("/docs", "/docs/start.js", "/openapi.json"),
    ):
        with subtests.test(path):
            responses = [client.get(path) for _ in range(3)]

            assert [response.status_code for response in responses] == [200, 200, 200]
            assert not [response for response in responses if "RateLimit" in response.headers]
    assert statuses(2, lambda: client.get(HOME)) == [200, 429]


@pytest.mark.parametrize("headers", [{}, {"Origin": FRONTEND, "Access-Control-Request-Method": "GET"}])
def test_options_requests_are_not_limited(limited: Limited, headers: dict[str, str]) -> None:
    client = limited(anonymous_reads=1, rejected_tokens=1).test_client()
    token = {"Authorization": "Bearer a.b.c"}

    assert statuses(3, lambda: client.options(HOME, headers=headers)) == [200, 200, 200]
    assert statuses(3, lambda: client.options(NOTIFICATIONS, headers=headers | token)) == [200, 200, 200]


@pytest.mark.usefixtures("bystander")
def test_replay_costs_no_write(limited: Limited, make: Make) -> None:
    lin = as_user(limited(user_writes=2), make.user())
    key = {"Idempotency-Key": str(uuid4())}

    responses = [lin.post("/api/activities", json=ACTIVITY, headers=key) for _ in range(4)]

    assert [response.status_code for response in responses] == [200] * 4
    assert [quota(response) for response in responses] == [("user-writes", 1)] * 4
    assert statuses(2, lambda: lin.post("/api/activities", json=ACTIVITY)) == [200, 429]
    assert len(make.messages()) == 2


def test_invalid_write_counts_and_a_failed_one_does_not(limited: Limited, make: Make) -> None:
    app = limited(user_writes=2)
    lin = as_user(app, make.user())

    assert lin.post("/api/activities", json={"message": ""}).status_code == 422
    app.extensions["database_pool"].close()
    failure = lin.post("/api/activities", json=ACTIVITY)
    assert (failure.status_code, quota(failure)) == (503, ("user-writes", 1))
    assert lin.post("/api/activities", json={"message": ""}).status_code == 422
    assert lin.post("/api/activities", json={"message": ""}).status_code == 429


def test_response_has_quota_and_retry_after_headers(limited: Limited, clock: Clock) -> None:
    client = limited(anonymous_reads=1).test_client()
    headers = {"Origin": FRONTEND, "X-Request-Id": "mine"}

    first = client.get(HOME, headers=headers)
    assert first.headers["RateLimit-Policy"] == '"anonymous-reads";q=1;w=60'
    assert first.headers["RateLimit"] == '"anonymous-reads";r=0;t=60'
    assert "Retry-After" not in first.headers

    clock.now += 12.5
    refused = client.get(HOME, headers=headers)
    assert (refused.status_code, refused.json) == (429, ["too_many_requests"])
    headers_left = dict(refused.headers)
    assert re.fullmatch(r"auth;dur=\S+, pool;dur=0.00, db;dur=0.00, total;dur=\S+", headers_left.pop("Server-Timing"))
    exposed_headers = set(headers_left.pop("Access-Control-Expose-Headers").split(", "))
    assert exposed_headers >= {"RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id"}
    assert set(refused.headers.getlist("Vary")) == {"Origin", "Accept", "Authorization"}
    headers_left.pop("Vary")
    assert headers_left == {
        "Content-Type": "application/json",
        "Content-Length": str(len(refused.data)),
        "Retry-After": "48",
        "RateLimit-Policy": '"anonymous-reads";q=1;w=60',
        "RateLimit": '"anonymous-reads";r=0;t=48',
        "Cache-Control": "private, no-store",
        "Access-Control-Allow-Origin": FRONTEND,
        "X-Request-Id": "mine",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Server": "cruddur",
    }
    problem = client.get(HOME, headers={"Accept": "application/problem+json"})
    assert (problem.status_code, problem.json["codes"]) == (429, ["too_many_requests"])

    # A request one second before the end of Retry-After is too early, even for a client that keeps sending.
    clock.now += 47
    assert client.get(HOME).status_code == 429
    clock.now += 0.5
    assert client.get(HOME).status_code == 200


def test_ipv6_prefix_shares_one_quota(subtests: pytest.Subtests, limited: Limited) -> None:
    for one, other, is_shared in (
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:db8::1", "2001:DB8:0:0:0::1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ):
        app = limited(anonymous_reads=1)
        with subtests.test(one, other=other):
            assert from_address(app, one).status_code == 200
            assert from_address(app, one).status_code == 429
            assert from_address(app, other).status_code == (429 if is_shared else 200)


def test_forged_forwarded_header_is_ignored_without_a_trusted_proxy(limited: Limited) -> None:
    app = limited(anonymous_reads=1)

    responses = [from_address(app, "192.0.2.1", **{"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(3)]

    assert [response.status_code for response in responses] == [200, 429, 429]


@pytest.mark.parametrize(("trusted", "counts"), [(1, "203.0.113.1"), (2, "198.51.100.1")])
def test_address_seen_by_the_outermost_trusted_proxy_counts(limited: Limited, trusted: int, counts: str) -> None:
    app = limited(anonymous_reads=1, trusted_proxies=trusted)
    forged = {"X-Forwarded-For": "192.0.2.{}, 198.51.100.1, 203.0.113.1"}

    def read(n: int) -> int:
        header = {name: value.format(n) for name, value in forged.items()}
        return from_address(app, PROXY, **header).status_code

    assert [read(1), read(2)] == [200, 429]
    # The same client without a forged address in the header, and another client.
    addresses = [counts, *(["203.0.113.1"] if trusted == 2 else [])]
    assert from_address(app, PROXY, **{"X-Forwarded-For": ", ".join(addresses)}).status_code == 429
    other = ["192.0.2.77", *addresses[1:]]
    assert from_address(app, PROXY, **{"X-Forwarded-For": ", ".join(other)}).status_code == 200


def test_malformed_forwarded_header_falls_back_to_the_peers_address(
    subtests: pytest.Subtests, limited: Limited
) -> None:
    for header in (None, "", "unknown", "'; DROP TABLE users", "192.0.2.1:1234", "999.0.0.1", "☃"):
        app = limited(anonymous_reads=1, trusted_proxies=1)
        headers = {} if header is None else {"X-Forwarded-For": header.encode().decode("latin-1")}
        with subtests.test(str(header)):
            assert from_address(app, PROXY, **headers).status_code == 200
            assert from_address(app, PROXY).status_code == 429
            assert from_address(app, "10.0.0.2", **headers).status_code == 200


def test_processes_count_separately_without_redis(limited: Limited) -> None:
    one, other = limited(anonymous_reads=1), limited(anonymous_reads=1)

    assert statuses(2, lambda: one.test_client().get(HOME)) == [200, 429]
    assert statuses(2, lambda: other.test_client().get(HOME)) == [200, 429]


def test_processes_share_counts_in_redis(limited: Limited, redis_port: str, make: Make) -> None:
    url = f"redis://127.0.0.1:{redis_port}/1"
    one, other = (limited(anonymous_reads=2, user_writes=2, rejected_tokens=1, storage_url=url) for _ in range(2))
    user = make.user()

    assert from_address(one, "192.0.2.1").status_code == 200
    second = from_address(other, "192.0.2.1")
    assert (second.status_code, quota(second)) == (200, ("anonymous-reads", 0))
    refused = from_address(one, "192.0.2.1")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert from_address(other, "192.0.2.2").status_code == 200

    writes = [as_user(app, user).post("/api/activities", json=ACTIVITY).status_code for app in (one, other, one)]
    assert writes == [200, 200, 429]
    bad = {"Authorization": "Bearer a.b.c"}
    assert [app.test_client().get(NOTIFICATIONS, headers=bad).status_code for app in (one, other)] == [401, 429]


def test_redis_outage_falls_back_to_local_counts_and_retries_after_a_pause(
    limited: Limited,
    tmp_path: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys: list[str] = []
    incr = RedisStorage.incr

    def incr_and_record(self: RedisStorage, key: str, *args: int) -> int:
        keys.append(key)
        return incr(self, key, *args)

    monkeypatch.setattr(RedisStorage, "incr", incr_and_record)
    port = free_port()
    with redis(port, tmp_path) as server:
        app = limited(anonymous_reads=2, storage_url=f"redis://127.0.0.1:{port}")
        assert from_address(app, "192.0.2.1").status_code == 200
        server.stop()
        del keys[:]

        # The storage fails open, and each process enforces the limit by itself.
        assert statuses(4, lambda: from_address(app, "192.0.2.1")) == [200, 200, 429, 429]
        assert len(keys) == 1
        clock.now += rate_limit_storage.PAUSE_SECONDS
        assert from_address(app, "192.0.2.2").status_code == 200
        assert len(keys) == 2
        assert [record.levelname for record in caplog.records if "rate limits" in record.message] == ["WARNING"]
        assert port not in caplog.text

    with redis(port, tmp_path):
        clock.now += rate_limit_storage.PAUSE_SECONDS
        assert statuses(3, lambda: from_address(app, "192.0.2.3")) == [200, 200, 429]
        assert len(keys) == 5
    assert "answers again" in caplog.text


def test_hanging_redis_delays_one_request_per_pause(limited: Limited, clock: Clock) -> None:
    with silent() as server:
        app = limited(anonymous_reads=2, storage_url=server.url.replace("http", "redis"))

        assert statuses(4, lambda: from_address(app, "192.0.2.1")) == [200, 200, 429, 429]

        # The requests after the first did not try.
        assert len(server.connections) == 1
        clock.now += rate_limit_storage.PAUSE_SECONDS
        assert from_address(app, "192.0.2.2").status_code == 200
        assert len(server.connections) == 2


def test_redis_errors_are_a_metric(service_url: str, jwks_url: str, collector: Collector) -> None:
    app = watched(service_url, jwks_url, collector, rate_limit_storage_url=f"redis://127.0.0.1:{free_port()}")
    watch = Watched(app, collector)

    assert app.test_client().get(HOME).status_code == 200
    watch.trees()
    (figures,) = collector.last_metrics().values()
    (point,) = figures["app.rate_limit.storage.errors"].sum.data_points
    assert point.as_int >= 1
    app.extensions["database_pool"].close()


def test_memory_of_a_process_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit_storage, "MAX_WINDOWS", 100)
    storage = BoundedMemoryStorage()
    clients = [f"client {n}" for n in range(101)]

    assert [storage.incr(client, 60) for client in clients[:100]] == [1] * 100
    assert storage.incr(clients[0], 60) == 2
    # The oldest window makes room for a new one.
    storage.incr(clients[100], 60)
    assert [client for client in clients if not storage.get(client)] == [clients[0]]

    # Each new window removes two ended ones.
    clock.now += 60
    assert not any(storage.get(client) for client in clients)
    for n in range(60):
        storage.incr(f"new {n}", 60)
    assert storage.reset() == 60


def test_long_window_keeps_no_ended_ones_in_memory(clock: Clock) -> None:
    storage = BoundedMemoryStorage()
    storage.incr("export", 3600)
    for _ in range(30):
        for n in range(10):
            storage.incr(f"client {n} at {clock.now}", 60)
        clock.now += 60

    assert storage.get("export") == 1
    assert storage.get_expiry("export") == clock.now + 1800
    # At most the windows of the last minutes, and the long one.
    assert storage.reset() < 30


def test_log_never_contains_the_clients_address(limited: Limited, caplog: pytest.LogCaptureFixture) -> None:
    app = limited(anonymous_reads=1)

    assert [from_address(app, "192.0.2.1").status_code for _ in range(2)] == [200, 429]
    assert "192.0.2.1" not in caplog.text
