"""The settings: one typed model, read once from the environment. Its error names every fault in them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticKnownError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lib.command_errors import ConfigError, malformed, not_set
from lib.conninfo import CONNECTION_URL_RULE, check_connection_url, check_text, conninfo_provider, standby_url
from lib.ledger import EXAMPLE_LEDGER, LEDGER_PATTERN, LEDGER_RULE
from lib.setting_types import (
    Address,
    ConnectionURL,
    Decimal,
    Endpoint,
    Headers,
    KeySetURL,
    Origins,
    PrivateURL,
    RedisURL,
    SignInOrigin,
    StandbyURL,
    WholeNumber,
)

DatabaseAuth = Literal["password", "iam"]
OnOff = Literal["on", "off"]
LogLevel = Literal["info", "warning"]
TracesExporter = Literal["otlp", "console", "none"]
MetricsExporter = Literal["otlp", "none"]
TracesSampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]
SignInKind = Literal["development", "cognito", "none"]
ExemplarFilter = Literal["always_on", "always_off", "trace_based"]
# The id of the pool whose tokens the development key pair signs (ops/dev_keys.py). No pool of Cognito's has this id.
DEVELOPMENT_POOL_ID = "eu-west-1_development"
# A queue of MAX_SPANS spans takes gigabytes. MAX_MILLISECONDS is an hour.
MAX_SPANS, MAX_MILLISECONDS = 1_000_000, 3_600_000
# One client gets fewer responses in a minute than this.
MAX_RATE = 999_999
# The reason by the type of pydantic's error. The types of lib/setting_types.py give their own reasons.
REASONS = {
    "greater_than_equal": "it is below {ge:g}",
    "less_than_equal": "it is above {le:g}",
    "int_parsing_size": "it has too many digits",
    "literal_error": "it is none of the choices",
    "string_pattern_mismatch": "it does not have that form",
    "string_too_long": "it has more than {max_length} characters",
}


def setting(name: str, rule: str, *, example: str, **others: Any) -> Any:
    """Describe a setting: its variable, the rule for its value, and an example. Without a default it is required."""
    return Field(validation_alias=name, description=rule, examples=[example], **others)


def number(name: str, low: int, high: int, *, default: int) -> Any:
    """Describe a setting that is a whole number from `low` to `high`."""
    rule = f"a whole number from {low} to {high}"
    return setting(name, rule, example=str(default), default=default, ge=low, le=high)


def choice(name: str, choices: Any, *, example: str, default: str | None = None) -> Any:
    """Describe a setting that is one of the words in a `Literal`."""
    *words, last = get_args(choices)
    return setting(name, f"{', '.join(words)} or {last}", example=example, default=default)


def endpoint(name: str) -> Any:
    """Describe a collector's address. The OpenTelemetry SDK reads it; the service needs only whether it is set."""
    return setting(
        name, "a URL that starts with https:// or http://", example="https://api.honeycomb.io", default=False
    )


def headers(name: str) -> Any:
    """Describe headers for a collector, which the OpenTelemetry SDK reads."""
    rule = "headers name=value parted by commas, the values percent-encoded"
    return setting(name, rule, example="x-honeycomb-team=the-key", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPool:
    """The Cognito user pool, and the app client, whose access tokens the service accepts."""

    issuer: str
    client_id: str
    jwks_url: str
    # The address of Cognito's API.
    endpoint: str

    @property
    def is_development(self) -> bool:
        """Return whether the development key pair signs the tokens, so that there is no API."""
        return self.issuer.endswith(f"/{DEVELOPMENT_POOL_ID}")

    @classmethod
    def of(cls, region: str, pool_id: str, client_id: str, jwks_url: str | None, endpoint: str | None) -> Self:
        """Return the user pool, with Cognito's own addresses in place of those that are None."""
        service = f"https://cognito-idp.{region}.amazonaws.com"
        issuer = f"{service}/{pool_id}"
        return cls(
            issuer=issuer,
            client_id=client_id,
            jwks_url=jwks_url or f"{issuer}/.well-known/jwks.json",
            endpoint=endpoint or service,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """How users sign in on Cruddur's page: by a link with a token, at the user pool's managed login, or not at all."""

    kind: SignInKind
    # The origin of the managed login, and the app client that it knows the page by.
    domain: str | None = None
    client_id: str | None = None


class Config(BaseSettings):
    """The settings of the service. Keyword arguments, by field name, take precedence over the environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        case_sensitive=True,
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
        populate_by_name=True,
        # Field names are for arguments alone: a variable `port` in the environment belongs to another program.
        # No variable's name can hold this prefix.
        env_prefix="=",
    )

    # Both URLs may hold a password, so the repr, which ends up in logs, leaves them out.
    service_connection_url: ConnectionURL | None = setting(
        "SERVICE_CONNECTION_URL",
        CONNECTION_URL_RULE,
        example="postgresql://cruddur_service:password@localhost:5432/cruddur",
        default=None,
        repr=False,
    )
    # Empty only while `service_connection_url` is set.
    connection_url: str = setting(
        "CONNECTION_URL",
        CONNECTION_URL_RULE,
        example="postgresql://postgres:password@localhost:5432/cruddur",
        default="",
        repr=False,
    )
    # The standbys that answer reads. Their password, too, stays out of the repr.
    read_connection_url: StandbyURL | None = setting(
        "READ_CONNECTION_URL",
        f"{CONNECTION_URL_RULE}, of one or several standbys",
        example="postgresql://cruddur_service:password@standby.example:5432/cruddur",
        default=None,
        repr=False,
    )
    frontend_urls: Origins = setting(
        "FRONTEND_URL",
        "an origin (scheme, host, and a port that is not the default), or several parted by commas",
        example="http://localhost:3000",
    )
    region: str = setting(
        "AWS_DEFAULT_REGION",
        "the code of an AWS region: lower case words and a number, parted by hyphens",
        example="eu-west-1",
        pattern="^[a-z]{2,}(-[a-z]+)+-[0-9]+$",
    )
    # Both patterns come from Cognito's API reference (UserPoolId, ClientId).
    user_pool_id: str = setting(
        "AWS_COGNITO_USER_POOL_ID",
        "the id of a Cognito user pool: its region, _, and letters and digits",
        example="eu-west-1_AbCdEfGhI",
        pattern=r"^[\w-]{1,45}_[0-9a-zA-Z]{1,54}$",
    )
    user_pool_client_id: str = setting(
        "AWS_COGNITO_USER_POOL_CLIENT_ID",
        "the id of an app client of the user pool: at most 128 letters, digits, _ and +",
        example="1h57kf5cpq17m0eml12EXAMPLE",
        pattern=r"^[\w+]+$",
        max_length=128,
    )
    jwks_url: KeySetURL | None = setting(
        "AWS_COGNITO_JWKS_URL",
        "a URL that starts with https:// or file:///, or with http:// on this machine",
        example="file:///srv/cruddur/jwks.json",
        default=None,
    )
    cognito_endpoint: PrivateURL | None = setting(
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
        "a URL that starts with https://, or with http:// on this machine",
        example="http://127.0.0.1:5000",
        default=None,
    )
    cognito_domain: SignInOrigin | None = setting(
        "AWS_COGNITO_DOMAIN",
        "the origin of the user pool's managed login: https://, or http:// on this machine, without a path",
        example="https://cruddur.auth.eu-west-1.amazoncognito.com",
        default=None,
    )
    host: Address = setting("HOST", "an IPv4 or IPv6 address", example="127.0.0.1", default="127.0.0.1")
    port: WholeNumber = number("PORT", 1, 65535, default=4567)
    workers: WholeNumber = number("WEB_CONCURRENCY", 1, 256, default=2)
    # The number of proxies in front whose X-Forwarded-For and X-Request-Start the service trusts.
    trusted_proxies: WholeNumber = number("TRUSTED_PROXIES", 0, 10, default=0)
    # After this many seconds the server closes a connection without a complete request header.
    idle_timeout: WholeNumber = number("IDLE_TIMEOUT_SECONDS", 1, 300, default=5)
    # Requests a minute: for a client's network without a verified token, for a user, and for either of them.
    rate_limit_anonymous_reads: WholeNumber = number("RATE_LIMIT_ANONYMOUS_READS", 1, MAX_RATE, default=1200)
    rate_limit_user_reads: WholeNumber = number("RATE_LIMIT_USER_READS", 1, MAX_RATE, default=600)
    rate_limit_user_writes: WholeNumber = number("RATE_LIMIT_USER_WRITES", 1, MAX_RATE, default=120)
    rate_limit_searches: WholeNumber = number("RATE_LIMIT_SEARCHES", 1, MAX_RATE, default=60)
    rate_limit_rejected_tokens: WholeNumber = number("RATE_LIMIT_REJECTED_TOKENS", 1, MAX_RATE, default=60)
    # The URL of the Redis that counts requests for all processes. It may hold a password.
    rate_limit_storage_url: RedisURL | None = setting(
        "RATE_LIMIT_STORAGE_URL",
        "a URL redis://host:port/number, or rediss:// for TLS",
        example="rediss://:password@redis.example:6379/0",
        default=None,
        repr=False,
    )
    # `iam`: RDS tokens take the place of a password.
    database_auth: DatabaseAuth = choice("DATABASE_AUTH", DatabaseAuth, example="iam", default="password")
    # `off` is for a pooler that gives each transaction another session, without the statements prepared before.
    database_prepare: OnOff = choice("DATABASE_PREPARE", OnOff, example="off", default="on")
    # The file of deletions, which outlives the database.
    deletion_ledger: str | None = setting(
        "DELETION_LEDGER", LEDGER_RULE, example=EXAMPLE_LEDGER, pattern=LEDGER_PATTERN, default=None
    )
    # Seconds that a request may wait for the database.
    database_timeout: WholeNumber = number("DATABASE_TIMEOUT_SECONDS", 1, 60, default=2)
    # A deleted user's hash is kept for as long as a backup may hold the user.
    backup_retention: WholeNumber = number("BACKUP_RETENTION_DAYS", 1, 3650, default=35)
    # Seconds from SIGTERM to the stop, for which the service still accepts requests.
    drain: WholeNumber = number("DRAIN_SECONDS", 0, 10, default=5)
    # Without ACCESS_LOG the deprecated LOG_LEVEL decides, for one release.
    access_log: OnOff | None = choice("ACCESS_LOG", OnOff, example="on")
    log_level: LogLevel | None = choice("LOG_LEVEL", LogLevel, example="info")
    # OpenTelemetry's SDK reads its other variables itself.
    otel_traces_exporter: TracesExporter | None = choice("OTEL_TRACES_EXPORTER", TracesExporter, example="otlp")
    otel_metrics_exporter: MetricsExporter | None = choice("OTEL_METRICS_EXPORTER", MetricsExporter, example="otlp")
    otel_traces_sampler: TracesSampler = choice(
        "OTEL_TRACES_SAMPLER", TracesSampler, example="parentbased_traceidratio", default="parentbased_always_on"
    )
    otel_traces_sampler_arg: Decimal = setting(
        "OTEL_TRACES_SAMPLER_ARG", "a decimal number from 0 to 1", example="0.1", default=1.0, ge=0, le=1
    )
    has_otlp_endpoint: Endpoint = endpoint("OTEL_EXPORTER_OTLP_ENDPOINT")
    has_otlp_traces_endpoint: Endpoint = endpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    has_otlp_metrics_endpoint: Endpoint = endpoint("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    # The SDK reads these variables too. For a malformed one it would omit a header, or end each process at its start.
    has_otlp_headers: Headers = headers("OTEL_EXPORTER_OTLP_HEADERS")
    has_otlp_traces_headers: Headers = headers("OTEL_EXPORTER_OTLP_TRACES_HEADERS")
    has_otlp_metrics_headers: Headers = headers("OTEL_EXPORTER_OTLP_METRICS_HEADERS")
    otel_queue_size: WholeNumber = number("OTEL_BSP_MAX_QUEUE_SIZE", 1, MAX_SPANS, default=8192)
    otel_batch_size: WholeNumber = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, MAX_SPANS, default=512)
    otel_schedule_delay: WholeNumber = number("OTEL_BSP_SCHEDULE_DELAY", 1, MAX_MILLISECONDS, default=5000)
    otel_export_interval: WholeNumber = number("OTEL_METRIC_EXPORT_INTERVAL", 1, MAX_MILLISECONDS, default=60_000)
    otel_exemplar_filter: ExemplarFilter = choice(
        "OTEL_METRICS_EXEMPLAR_FILTER", ExemplarFilter, example="trace_based", default="always_off"
    )

    @field_validator("*", mode="before")
    @classmethod
    def reject_stray_characters(cls, value: Any) -> Any:
        """Reject, in any setting, the carriage return of a Windows file, quotes, surrounding spaces, and the like."""
        return check_text(value) if isinstance(value, str) else value

    @field_validator("connection_url")
    @classmethod
    def require_connection_url(cls, value: str, info: ValidationInfo) -> str:
        """Require CONNECTION_URL unless SERVICE_CONNECTION_URL is set."""
        if value:
            return check_connection_url(value)
        # A malformed SERVICE_CONNECTION_URL is absent here. Then only that fault is reported.
        if info.data.get("service_connection_url", "malformed") is None:
            raise PydanticKnownError("missing")
        return value

    @field_validator("otel_batch_size")
    @classmethod
    def require_batch_within_queue(cls, value: int, info: ValidationInfo) -> int:
        """Require a batch size that the queue has room for."""
        if value > info.data.get("otel_queue_size", value):
            raise ValueError("it is above OTEL_BSP_MAX_QUEUE_SIZE")
        return value

    @field_validator("user_pool_id")
    @classmethod
    def require_pool_in_region(cls, value: str, info: ValidationInfo) -> str:
        """Require the user pool to be in AWS_DEFAULT_REGION: its tokens name both."""
        # A missing or malformed region is absent here. Then only that fault is reported.
        region = info.data.get("region")
        if region and value.rpartition("_")[0] != region:
            raise ValueError("its region is not that of AWS_DEFAULT_REGION")
        return value

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the settings. `overrides` precede the environment. Raises `ConfigError` with a line for each fault."""
        try:
            return cls(**overrides)
        except ValidationError as error:
            # pydantic names a setting by its variable, or by its field when the variable is missing.
            fields = {str(field.validation_alias): field for field in cls.model_fields.values()} | cls.model_fields
            faults = [(fields[str(fault["loc"][0])], fault) for fault in error.errors(include_url=False)]
        # Raised outside of the handler, so that pydantic's error, which holds the values, is no part of the traceback.
        lines: dict[str, str] = {}
        for field, fault in faults:
            # The first fault of each setting is reported.
            lines.setdefault(str(field.validation_alias), describe(field, fault))
        raise ConfigError("\n".join(lines.values()))

    @property
    def database_url(self) -> str:
        """Return the service's connection URL, or the owner's where the service has none."""
        return self.service_connection_url or self.connection_url

    @property
    def connection_setting(self) -> str:
        """Return the name of the setting that `database_url` comes from, for error messages."""
        return "SERVICE_CONNECTION_URL" if self.service_connection_url else "CONNECTION_URL"

    @property
    def user_pool(self) -> UserPool:
        """Return the Cognito user pool."""
        return UserPool.of(
            self.region, self.user_pool_id, self.user_pool_client_id, self.jwks_url, self.cognito_endpoint
        )

    @property
    def sign_in(self) -> SignIn:
        """Return how users sign in on the page. The development pool has no managed login."""
        if self.user_pool_id == DEVELOPMENT_POOL_ID:
            return SignIn(kind="development")
        if self.cognito_domain is None:
            return SignIn(kind="none")
        return SignIn(kind="cognito", domain=self.cognito_domain, client_id=self.user_pool_client_id)

    @property
    def has_access_log(self) -> bool:
        """Return whether the log has a line for each request."""
        return self.access_log == "on" if self.access_log else self.log_level != "warning"

    @property
    def traces_exporter(self) -> TracesExporter:
        """Return the exporter of traces: the configured one, else `otlp` if an endpoint for traces is set."""
        has_endpoint = self.has_otlp_endpoint or self.has_otlp_traces_endpoint
        return self.otel_traces_exporter or ("otlp" if has_endpoint else "none")

    @property
    def metrics_exporter(self) -> MetricsExporter:
        """Return the exporter of metrics: the configured one, else `otlp` if an endpoint for metrics is set."""
        has_endpoint = self.has_otlp_endpoint or self.has_otlp_metrics_endpoint
        return self.otel_metrics_exporter or ("otlp" if has_endpoint else "none")

    def conninfo(self) -> Callable[[], str]:
        """Return a function that gives the connection string for each new connection. Raises `ConfigError`."""
        return conninfo_provider(self.database_url, self.database_auth, self.region)

    def read_conninfo(self) -> Callable[[], str] | None:
        """Return the same function for standbys, `None` without READ_CONNECTION_URL. Raises `ConfigError`."""
        if self.read_connection_url is None:
            return None
        return conninfo_provider(standby_url(self.read_connection_url), self.database_auth, self.region)


def describe(field: FieldInfo, fault: ErrorDetails) -> str:
    """Return the line for one of pydantic's errors: the setting, the reason, the rule and an example."""
    name, rule, example = str(field.validation_alias), str(field.description), str((field.examples or [""])[0])
    if fault["type"] == "missing":
        return not_set(name, rule, example)
    return malformed(name, reason(fault), rule, example)


def reason(fault: ErrorDetails) -> str:
    """Return the reason why a value is wrong, without any part of the value."""
    context = fault.get("ctx", {})
    if fault["type"] == "value_error":
        return str(context["error"])
    return REASONS.get(fault["type"], "it is of another type").format(**context)
