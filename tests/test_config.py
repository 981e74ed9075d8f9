"""The settings: read once, every fault named."""

import pytest

from lib.config import COGNITO_SETTINGS, SAID, Config, UserPool
from lib.failure import Failure

URL = "postgresql://cruddur:p%2Fw@db:5432/cruddur"
POOL = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_COGNITO_USER_POOL_ID": "us-east-1_AbCdEfGhI",
    "AWS_COGNITO_USER_POOL_CLIENT_ID": "client",
}
RIGHT = {"CONNECTION_URL": URL, "FRONTEND_URL": "http://localhost:3000", **POOL}
COGNITO = "https://cognito-idp.us-east-1.amazonaws.com"


def test_what_is_left_out_has_a_default() -> None:
    config = Config.from_env(RIGHT)

    assert config == Config(
        connection_url=URL,
        connection_setting="CONNECTION_URL",
        frontend_urls=("http://localhost:3000",),
        user_pool=UserPool(
            issuer=f"{COGNITO}/us-east-1_AbCdEfGhI",
            client_id="client",
            jwks_url=f"{COGNITO}/us-east-1_AbCdEfGhI/.well-known/jwks.json",
            endpoint=COGNITO,
        ),
        host="127.0.0.1",
        port=4567,
        workers=2,
        database_auth="password",
        region="us-east-1",
        database_timeout=2,
        drain=5,
        log_level="info",
        telemetry=config.telemetry,
    )
    assert (config.telemetry.traces, config.telemetry.metrics, config.telemetry.is_console) == (None, None, False)


def test_the_service_takes_its_own_url_before_the_owners() -> None:
    config = Config.from_env(RIGHT | {"SERVICE_CONNECTION_URL": "postgresql://cruddur_service@db/cruddur"})

    assert config.connection_url == "postgresql://cruddur_service@db/cruddur"
    assert config.connection_setting == "SERVICE_CONNECTION_URL"


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert Config.from_env(RIGHT | {"PORT": "", "SERVICE_CONNECTION_URL": ""}).port == 4567


def test_every_fault_is_named_at_once_with_a_right_value() -> None:
    with pytest.raises(Failure) as failure:
        Config.from_env({"PORT": "none", "FRONTEND_URL": "localhost:3000"})

    assert str(failure.value).splitlines() == [
        f"CONNECTION_URL is not set; a right value: CONNECTION_URL={SAID['CONNECTION_URL'].example}",
        "FRONTEND_URL is malformed; a right value: FRONTEND_URL=http://localhost:3000",
        *(f"{name} is not set; a right value: {name}={SAID[name].example}" for name in COGNITO_SETTINGS),
        "PORT is malformed; a right value: PORT=4567",
    ]


@pytest.mark.parametrize("name", SAID)
def test_every_example_is_right(name: str) -> None:
    SAID[name].read(SAID[name].example)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PORT", value) for value in ("0", "65536", "-1", "4567 ", "4567.0", "٤", "9" * 5000)),
        *(("FRONTEND_URL", value) for value in ("http://LOCALHOST:3000", "https://a.example:443", "http://a:x")),
        *(("HOST", value) for value in ("localhost", "256.0.0.1", "nowhere.invalid")),
        *(("OTEL_EXPORTER_OTLP_ENDPOINT", value) for value in ("nonsense", "api.honeycomb.io", "http://")),
        *(("CONNECTION_URL", value) for value in ("postgresql://u:p@ss@h/d", "postgresql://u:p:w/x@h/d")),
        *(("WEB_CONCURRENCY", value) for value in ("0", "257", "two")),
        *(
            ("FRONTEND_URL", value)
            for value in ("*", "http://", "http://a/", "http://a/b", "ftp://a", "http://*.a", ",")
        ),
        *(("CONNECTION_URL", value) for value in ("x", "postgresql://h", "http://h/d", "postgresql://h/d?no=1")),
        *(("AWS_DEFAULT_REGION", value) for value in ("Ireland", "eu-west", "eu-west-1/", "EU-WEST-1")),
        *(("AWS_COGNITO_USER_POOL_ID", value) for value in ("eu-west-1", "eu-west-1_a/b", "eu-west-1_a b")),
        *(("AWS_COGNITO_USER_POOL_CLIENT_ID", value) for value in ("a b", "a-b", "a" * 129)),
        *(
            ("AWS_COGNITO_JWKS_URL", value)
            for value in ("http://pool.example/jwks.json", "file://jwks.json", "jwks.json", "http://localhost.example/")
        ),
        *(("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", value) for value in ("http://aws.example", "file:///aws")),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        *(("OTEL_TRACES_SAMPLER", value) for value in ("always", "parentbased_jaeger_remote")),
        *(("OTEL_TRACES_SAMPLER_ARG", value) for value in ("-0.1", "1.1", "half")),
        *(("OTEL_EXPORTER_OTLP_HEADERS", value) for value in ("key", "=value")),
        *(("OTEL_BSP_SCHEDULE_DELAY", value) for value in ("0", "5s")),
        *(("DATABASE_TIMEOUT_SECONDS", value) for value in ("0", "61", "2.5")),
        *(("DRAIN_SECONDS", value) for value in ("-1", "11")),
        *(("LOG_LEVEL", "debug"), ("DATABASE_AUTH", "kerberos")),
    ],
)
def test_a_malformed_value_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(Failure) as failure:
        Config.from_env(RIGHT | {name: value})

    assert str(failure.value) == f"{name} is malformed; a right value: {name}={SAID[name].example}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("PORT", "1"),
            ("PORT", "65535"),
            ("WEB_CONCURRENCY", "256"),
            ("DRAIN_SECONDS", "0"),
            ("DRAIN_SECONDS", "10"),
        ),
        *(("DATABASE_TIMEOUT_SECONDS", "1"), ("DATABASE_TIMEOUT_SECONDS", "60"), ("OTEL_TRACES_SAMPLER_ARG", "0")),
    ],
)
def test_a_number_at_its_limit_is_taken(name: str, value: str) -> None:
    Config.from_env(RIGHT | {name: value})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:%2F%3F%23%40%25!@localhost/cruddur?sslmode=verify-full&options=-c%20geqo%3Doff",
        "postgresql://one:5432,two:5433/cruddur?target_session_attrs=read-write",
        "postgresql://user@/cruddur?host=%2Fvar%2Frun%2Fwith%20space",
        "host=/tmp dbname=cruddur",
    ],
)
def test_a_connection_url_is_what_libpq_takes(url: str) -> None:
    assert Config.from_env(RIGHT | {"CONNECTION_URL": url}).connection_url == url


def test_several_frontends_are_parted_by_commas() -> None:
    config = Config.from_env(RIGHT | {"FRONTEND_URL": "https://cruddur.example, http://[::1]:3000"})

    assert config.frontend_urls == ("https://cruddur.example", "http://[::1]:3000")


@pytest.mark.parametrize(
    ("jwks_url", "endpoint"),
    [
        ("file:///srv/a%20folder/jwks.json", "http://127.0.0.1:5000"),
        ("http://localhost:5000/jwks.json", "https://cognito.example"),
    ],
)
def test_the_pool_may_have_addresses_of_its_own(jwks_url: str, endpoint: str) -> None:
    addresses = {"AWS_COGNITO_JWKS_URL": jwks_url, "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": endpoint}

    pool = Config.from_env(RIGHT | addresses).user_pool

    assert (pool.jwks_url, pool.endpoint) == (jwks_url, endpoint)
    assert pool.issuer == f"{COGNITO}/us-east-1_AbCdEfGhI"


def test_a_password_is_not_in_what_gets_printed() -> None:
    assert "p%2Fw" not in repr(Config.from_env(RIGHT))
