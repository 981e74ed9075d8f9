"""Load shedding: a request that waited too long behind a trusted proxy is refused without running."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app import create_app
from lib.config import Config
from lib.load_shedding import queue_seconds
from tests import tokens
from tests.conftest import FRONTEND
from tests.factories import Make

# In seconds: so long that a new request never reaches that age.
DEADLINE = 60
ACTIVITY = {"message": "hello", "ttl": "1-day"}


@pytest.fixture
def behind_proxies(service_url: str, jwks_url: str, request: pytest.FixtureRequest) -> Iterator[Flask]:
    """Create the application behind one trusted proxy, or as many as the test's parameter says."""
    settings: dict[str, Any] = {"trusted_proxies": getattr(request, "param", 1), "database_timeout": DEADLINE}
    config = Config(connection_url=service_url, frontend_urls=(FRONTEND,), **settings, **tokens.pool(jwks_url))
    app = create_app(config)
    yield app
    app.extensions["database_pool"].close()


def request_start(seconds: float) -> dict[str, str]:
    """Return the header of a request that reached the proxy `seconds` ago."""
    return {"X-Request-Start": f"t={time.time() - seconds:.3f}"}


@pytest.mark.usefixtures("bystander")
def test_old_request_is_refused_and_writes_nothing(behind_proxies: Flask, make: Make) -> None:
    client, token = behind_proxies.test_client(), tokens.bearer(make.user().cognito_user_id)

    old = client.post("/api/activities", json=ACTIVITY, headers=token | request_start(DEADLINE + 1))
    assert (old.status_code, old.json) == (503, ["service_unavailable"])
    assert int(old.headers["Retry-After"]) > 0
    assert make.messages() == []

    assert client.post("/api/activities", json=ACTIVITY, headers=token | request_start(0)).status_code == 200
    assert make.messages() == ["hello"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/health-check"])
def test_health_check_is_never_shed(behind_proxies: Flask, path: str) -> None:
    assert behind_proxies.test_client().get(path, headers=request_start(10 * DEADLINE)).status_code == 200


@pytest.mark.parametrize("behind_proxies", [0], indirect=True)
def test_header_is_ignored_without_a_trusted_proxy(behind_proxies: Flask) -> None:
    response = behind_proxies.test_client().get("/api/activities/home", headers=request_start(10 * DEADLINE))

    assert response.status_code == 200


MALFORMED = ["", "t=", "t=1", "1.000", "t=-1.000", "t=1e3", "t=1.000,t=2.000", "t=nan", "yes"]


def test_malformed_header_is_ignored(subtests: pytest.Subtests, behind_proxies: Flask) -> None:
    for started in MALFORMED:
        with subtests.test(started):
            response = behind_proxies.test_client().get("/api/activities/home", headers={"X-Request-Start": started})

            assert response.status_code == 200


def test_age_limit_equals_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_002.5)

    assert queue_seconds("t=1000.500") == 2.0
    assert queue_seconds("t=1000.499") > 2.0
