"""The settings: read once from the environment, every fault in them named at the start."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from lib.credentials import conninfo_source
from lib.failure import Failure
from lib.readers import (
    address,
    connection_url,
    key_set_url,
    matching,
    number,
    one_of,
    origins,
    pairs,
    private_url,
    share,
    url,
)
from lib.telemetry import Telemetry
from lib.tracing import SAMPLERS


class Setting(NamedTuple):
    """How a variable is read (`ValueError`: malformed), a right value, and what holds without it."""

    read: Callable[[str], Any]
    example: str
    default: str | None = None


SETTINGS = {
    "CONNECTION_URL": Setting(connection_url, "postgresql://postgres:password@localhost:5432/cruddur"),
    "SERVICE_CONNECTION_URL": Setting(connection_url, "postgresql://cruddur_service:password@localhost:5432/cruddur"),
    "FRONTEND_URL": Setting(origins, "http://localhost:3000"),
    "HOST": Setting(address, "127.0.0.1", default="127.0.0.1"),
    "PORT": Setting(number(1, 65535), "4567", default="4567"),
    "WEB_CONCURRENCY": Setting(number(1, 256), "2", default="2"),
    "DATABASE_AUTH": Setting(one_of("password", "iam"), "iam", default="password"),
    "DATABASE_TIMEOUT_SECONDS": Setting(number(1, 60), "2", default="2"),
    "DRAIN_SECONDS": Setting(number(0, 10), "5", default="5"),
    "LOG_LEVEL": Setting(one_of("info", "warning"), "info", default="info"),
    "AWS_DEFAULT_REGION": Setting(matching(r"[a-z]{2,}(-[a-z]+)+-[0-9]+"), "eu-west-1"),
    # The forms that Cognito's API reference gives for UserPoolId and ClientId.
    "AWS_COGNITO_USER_POOL_ID": Setting(matching(r"[\w-]{1,45}_[0-9a-zA-Z]{1,54}"), "eu-west-1_AbCdEfGhI"),
    "AWS_COGNITO_USER_POOL_CLIENT_ID": Setting(matching(r"[\w+]{1,128}"), "1h57kf5cpq17m0eml12EXAMPLE"),
    "AWS_COGNITO_JWKS_URL": Setting(key_set_url, "file:///srv/cruddur/jwks.json"),
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": Setting(private_url, "http://127.0.0.1:5000"),
}
# OpenTelemetry's own, with its defaults; its times are in milliseconds.
MILLISECONDS = number(1, 3_600_000)
OTEL_SETTINGS = {
    "OTEL_SDK_DISABLED": Setting(one_of("true", "false"), "false", default="false"),
    "OTEL_TRACES_EXPORTER": Setting(one_of("otlp", "console", "none"), "otlp", default="otlp"),
    "OTEL_METRICS_EXPORTER": Setting(one_of("otlp", "none"), "otlp", default="otlp"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": Setting(url, "https://api.honeycomb.io"),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": Setting(url, "https://api.honeycomb.io/v1/traces"),
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": Setting(url, "https://api.honeycomb.io/v1/metrics"),
    "OTEL_EXPORTER_OTLP_HEADERS": Setting(pairs, "x-honeycomb-team=the-key", default=","),
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": Setting(pairs, "x-honeycomb-team=the-key", default=","),
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS": Setting(pairs, "x-honeycomb-dataset=cruddur", default=","),
    "OTEL_EXPORTER_OTLP_TIMEOUT": Setting(MILLISECONDS, "10000", default="10000"),
    "OTEL_EXPORTER_OTLP_COMPRESSION": Setting(one_of("gzip", "none"), "gzip", default="none"),
    "OTEL_SERVICE_NAME": Setting(matching(r"(?s).+"), "cruddur", default="cruddur"),
    "OTEL_RESOURCE_ATTRIBUTES": Setting(pairs, "deployment.environment.name=production", default=","),
    "OTEL_TRACES_SAMPLER": Setting(one_of(*SAMPLERS), "parentbased_traceidratio", default="parentbased_always_on"),
    "OTEL_TRACES_SAMPLER_ARG": Setting(share, "0.1", default="1"),
    "OTEL_BSP_SCHEDULE_DELAY": Setting(MILLISECONDS, "5000", default="5000"),
    "OTEL_BSP_MAX_QUEUE_SIZE": Setting(number(1, 1_000_000), "8192", default="8192"),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": Setting(number(1, 100_000), "512", default="512"),
    "OTEL_METRIC_EXPORT_INTERVAL": Setting(MILLISECONDS, "60000", default="60000"),
}
COGNITO_SETTINGS = ("AWS_DEFAULT_REGION", "AWS_COGNITO_USER_POOL_ID", "AWS_COGNITO_USER_POOL_CLIENT_ID")
COGNITO_ADDRESSES = ("AWS_COGNITO_JWKS_URL", "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER")
SAID = {**SETTINGS, **OTEL_SETTINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPool:
    """The Cognito user pool whose people may sign in, through the one app client."""

    issuer: str
    client_id: str
    jwks_url: str
    # Where Cognito's API answers.
    endpoint: str

    @classmethod
    def of(cls, region: str, pool_id: str, client_id: str, jwks_url: str | None, endpoint: str | None) -> Self:
        """The pool, with Cognito's own addresses for those that are left out."""
        service = f"https://cognito-idp.{region}.amazonaws.com"
        issuer = f"{service}/{pool_id}"
        return cls(
            issuer=issuer,
            client_id=client_id,
            jwks_url=jwks_url or f"{issuer}/.well-known/jwks.json",
            endpoint=endpoint or service,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the service is told from outside."""

    # Left out of the repr, which ends up in logs: it may hold a password.
    connection_url: str = field(repr=False)
    # Which setting it came from, to name it in a failure.
    connection_setting: str = "CONNECTION_URL"
    frontend_urls: tuple[str, ...]
    user_pool: UserPool
    host: str = "127.0.0.1"
    port: int = 4567
    workers: int = 2
    # `iam` when tokens of RDS's stand for a password.
    database_auth: str = "password"
    region: str = ""
    # Seconds that a request may wait for the database.
    database_timeout: int = 2
    # Seconds between the word to stop and the stop.
    drain: int = 5
    # Whether the log tells of each request.
    log_level: str = "info"
    telemetry: Telemetry = field(default_factory=Telemetry)

    def conninfo(self) -> Callable[[], str]:
        """What gives the connection string for each new connection. Raises `Failure`."""
        return conninfo_source(self.connection_url, self.database_auth, self.region)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings in `environ`. Raises `Failure` with a line for each fault."""
        faults = []

        def read(name: str) -> Any:
            setting = SAID[name]
            text = environ.get(name) or setting.default
            try:
                if text:
                    return setting.read(text)
                faults.append(f"{name} is not set; a right value: {name}={setting.example}")
            except ValueError:
                # The value stays out of the message: it may hold a password.
                faults.append(f"{name} is malformed; a right value: {name}={setting.example}")
            # To go on with, and find the other faults.
            return setting.read(setting.default or setting.example)

        given = [name for name in OTEL_SETTINGS if environ.get(name)]
        otel = {name: read(name) for name in OTEL_SETTINGS if name in given or OTEL_SETTINGS[name].default}
        addresses = [read(name) if environ.get(name) else None for name in COGNITO_ADDRESSES]
        connection_setting = "SERVICE_CONNECTION_URL" if environ.get("SERVICE_CONNECTION_URL") else "CONNECTION_URL"
        config = cls(
            connection_url=read(connection_setting),
            connection_setting=connection_setting,
            frontend_urls=read("FRONTEND_URL"),
            user_pool=UserPool.of(*(read(name) for name in COGNITO_SETTINGS), *addresses),
            host=read("HOST"),
            port=read("PORT"),
            workers=read("WEB_CONCURRENCY"),
            database_auth=read("DATABASE_AUTH"),
            region=read("AWS_DEFAULT_REGION"),
            database_timeout=read("DATABASE_TIMEOUT_SECONDS"),
            drain=read("DRAIN_SECONDS"),
            log_level=read("LOG_LEVEL"),
            telemetry=Telemetry.of(otel, given),
        )
        if faults:
            # A setting that several ask for is told once.
            raise Failure("\n".join(dict.fromkeys(faults)))
        return config
