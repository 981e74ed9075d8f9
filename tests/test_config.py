"""The settings: read once; each invalid setting is one line with the reason, the rule and a valid value."""

import os
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from lib.command_errors import CommandError
from lib.config import DEVELOPMENT_POOL_ID, Config, SignIn, UserPool
from lib.conninfo import NOT_ENCODED, check_connection_url
from tests.settings import NAMES, REQUIRED, URL, load

COGNITO = "https://cognito-idp.us-east-1.amazonaws.com"
STANDBYS = "postgresql://u@a,b:5433/d?load_balance_hosts=random&target_session_attrs=standby"
SERVICE_URL = "postgresql://cruddur_service@db/cruddur"
FIELDS = {str(field.validation_alias): field for field in Config.model_fields.values()}
# The OpenTelemetry SDK reads these settings. `Config` keeps only the fact that each is set.
FLAGS = [name for name in NAMES if name.endswith(("ENDPOINT", "HEADERS"))]


def faults(**environ: str) -> list[str]:
    """Return the lines of the error that these variables cause."""
    with pytest.raises(CommandError) as failure:
        load(**environ)
    return str(failure.value).splitlines()


def fault(name: str, value: str) -> str:
    """Return the one line of the error that a variable causes while all others are valid."""
    (line,) = faults(**REQUIRED | {name: value})
    return line


def example(name: str) -> str:
    """Return the valid value that a setting's messages name."""
    (value,) = FIELDS[name].examples
    return str(value)


def test_unset_variable_has_a_default() -> None:
    assert load(**REQUIRED).model_dump() == {
        "service_connection_url": None,
        "connection_url": URL,
        "frontend_urls": ("http://localhost:3000",),
        "region": "us-east-1",
        "user_pool_id": "us-east-1_AbCdEfGhI",
        "user_pool_client_id": "client",
        "jwks_url": None,
        "cognito_endpoint": None,
        "cognito_domain": None,
        "host": "127.0.0.1",
        "port": 4567,
        "workers": 2,
        "trusted_proxies": 0,
        "idle_timeout": 5,
        "rate_limit_anonymous_reads": 1200,
        "rate_limit_user_reads": 600,
        "rate_limit_user_writes": 120,
        "rate_limit_searches": 60,
        "rate_limit_rejected_tokens": 60,
        "rate_limit_storage_url": None,
        "read_connection_url": None,
        "database_auth": "password",
        "database_prepare": "on",
        "deletion_ledger": None,
        "backup_retention": 35,
        "database_timeout": 2,
        "drain": 5,
        "access_log": None,
        "log_level": None,
        "otel_traces_exporter": None,
        "otel_metrics_exporter": None,
        "otel_traces_sampler": "parentbased_always_on",
        "otel_traces_sampler_arg": 1.0,
        "has_otlp_endpoint": False,
        "has_otlp_traces_endpoint": False,
        "has_otlp_metrics_endpoint": False,
        "has_otlp_headers": False,
        "has_otlp_traces_headers": False,
        "has_otlp_metrics_headers": False,
        "otel_queue_size": 8192,
        "otel_batch_size": 512,
        "otel_schedule_delay": 5000,
        "otel_export_interval": 60_000,
        "otel_exemplar_filter": "always_off",
    }


def test_each_variable_is_read_into_its_field() -> None:
    config = load(**REQUIRED | {name: example(name) for name in NAMES})

    assert {name: str(getattr(config, field)) for field, name in zip(Config.model_fields, NAMES, strict=True)} == {
        **{name: example(name) for name in NAMES},
        "FRONTEND_URL": "('http://localhost:3000',)",
        **dict.fromkeys(FLAGS, "True"),
    }


def test_empty_variable_counts_as_unset() -> None:
    assert load(**dict.fromkeys(NAMES, "") | REQUIRED) == load(**REQUIRED)


def test_variable_names_are_case_sensitive_and_differ_from_field_names() -> None:
    assert load(**REQUIRED, Port="1", port="2", drain="none").port == 4567


def test_argument_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**REQUIRED, "PORT": "1", "WEB_CONCURRENCY": "3"}.items():
        monkeypatch.setenv(name, value)

    config = Config.load(port=2)

    assert (config.port, config.workers) == (2, 3)


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(**REQUIRED).port = 1


@pytest.mark.parametrize(
    ("environ", "setting", "url"),
    [
        ({"CONNECTION_URL": URL}, "CONNECTION_URL", URL),
        ({"CONNECTION_URL": URL, "SERVICE_CONNECTION_URL": ""}, "CONNECTION_URL", URL),
        ({"CONNECTION_URL": URL, "SERVICE_CONNECTION_URL": SERVICE_URL}, "SERVICE_CONNECTION_URL", SERVICE_URL),
        ({"CONNECTION_URL": "", "SERVICE_CONNECTION_URL": SERVICE_URL}, "SERVICE_CONNECTION_URL", SERVICE_URL),
    ],
)
def test_service_url_takes_precedence_over_owner_url(environ: dict[str, str], setting: str, url: str) -> None:
    config = load(**REQUIRED | environ)

    assert (config.connection_setting, config.database_url) == (setting, url)
    assert ("user=cruddur_service" in config.conninfo()()) == (url == SERVICE_URL)


def test_every_invalid_setting_is_reported_at_once_in_order() -> None:
    lines = faults(PORT="none", FRONTEND_URL="http://a/,localhost", OTEL_TRACES_SAMPLER="always", ACCESS_LOG="on")

    assert [line.partition(";")[0] for line in lines] == [
        "CONNECTION_URL is not set",
        # A setting with two faults has one line.
        "FRONTEND_URL is malformed: it has a trailing slash",
        "AWS_DEFAULT_REGION is not set",
        "AWS_COGNITO_USER_POOL_ID is not set",
        "AWS_COGNITO_USER_POOL_CLIENT_ID is not set",
        "PORT is malformed: it is not made of the digits 0 to 9 alone",
        "OTEL_TRACES_SAMPLER is malformed: it is none of the choices",
    ]


def test_error_line_names_the_rule_and_a_valid_value() -> None:
    (line,) = faults(**REQUIRED | {"CONNECTION_URL": ""})
    assert line == (
        "CONNECTION_URL is not set; it is a URL or a connection string of libpq's that names its database, "
        "such as CONNECTION_URL=postgresql://postgres:password@localhost:5432/cruddur"
    )

    assert fault("PORT", "65536") == (
        "PORT is malformed: it is above 65535; PORT is a whole number from 1 to 65535, such as PORT=4567"
    )
    assert fault("OTEL_TRACES_EXPORTER", "zipkin") == (
        "OTEL_TRACES_EXPORTER is malformed: it is none of the choices; "
        "OTEL_TRACES_EXPORTER is otlp, console or none, such as OTEL_TRACES_EXPORTER=otlp"
    )


def test_malformed_service_url_does_not_fall_back_to_owner_url() -> None:
    (line,) = faults(**REQUIRED | {"CONNECTION_URL": "", "SERVICE_CONNECTION_URL": "postgresql://u@h"})

    assert line.startswith("SERVICE_CONNECTION_URL is malformed: it names no database; SERVICE_CONNECTION_URL is")


DIGITS = "it is not made of the digits 0 to 9 alone"
FORM = "it does not have that form"
CHOICES = "it is none of the choices"
OTHER_SERVERS = "its target_session_attrs is not standby: leave it out"
LOGIN_HOST = "its host or port holds another character than lower case letters, digits, - and ."
SYNTAX = "it is not in libpq's syntax, or has a parameter that libpq does not know"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CONNECTION_URL", "x", SYNTAX),
        ("CONNECTION_URL", "dbname", SYNTAX),
        ("CONNECTION_URL", "postgresql://h/d?no=1", SYNTAX),
        ("CONNECTION_URL", "http://h/d", "its scheme is not postgresql"),
        ("CONNECTION_URL", "postgresql://h", "it names no database"),
        ("CONNECTION_URL", "host=h", "it names no database"),
        ("CONNECTION_URL", "postgresql://u:p@h:port/d", "its port is not a number"),
        ("CONNECTION_URL", "postgresql://u:p@h/%d", "a % in it is not followed by two hexadecimal digits"),
        ("CONNECTION_URL", "postgresql://u:p@h/a@b", NOT_ENCODED),
        ("CONNECTION_URL", "postgresql://u:p@h/cruddur ", "it begins or ends with a space"),
        ("CONNECTION_URL", "'postgresql://u:p@h/cruddur'", "it is in quotes"),
        ("CONNECTION_URL", "postgresql://u:p\udcff@h/cruddur", "it is not UTF-8"),
        ("CONNECTION_URL", "postgresql://u:p@h/cruddur%0D", "its dbname ends in a control character (U+000D)"),
        ("CONNECTION_URL", "postgresql://u:p@%20h/cruddur", "its host begins or ends with a space"),
        ("CONNECTION_URL", "postgresql://h/d?client_encoding=LATIN1", "it sets client_encoding, which is UTF8 always"),
        ("FRONTEND_URL", "*", "it holds a wildcard"),
        ("FRONTEND_URL", "http://*.a", "it holds a wildcard"),
        ("FRONTEND_URL", "localhost:3000", "it has no scheme: http:// or https://"),
        ("FRONTEND_URL", "ftp://a", "its scheme is not http or https"),
        ("FRONTEND_URL", "http://", "it has no host"),
        ("FRONTEND_URL", "http://a/", "it has a trailing slash"),
        ("FRONTEND_URL", "http://a/b", "it has a path"),
        ("FRONTEND_URL", "http://a/b/", "it has a path"),
        ("FRONTEND_URL", "http://a?b", "it has a query or a fragment"),
        ("FRONTEND_URL", "http://u:p@a", "it holds a user or a password"),
        ("FRONTEND_URL", "http://a http://b", "it holds white space"),
        ("FRONTEND_URL", "http://LOCALHOST:3000", "it holds an upper case letter"),
        ("FRONTEND_URL", "http://a:80", "it names its scheme's default port"),
        ("FRONTEND_URL", "https://a:443", "it names its scheme's default port"),
        ("FRONTEND_URL", "http://a:x", "its host or its port is malformed"),
        ("FRONTEND_URL", "http://a:65536", "its host or its port is malformed"),
        ("FRONTEND_URL", "http://[::1", "its host or its port is malformed"),
        ("FRONTEND_URL", "http://a:0", "its port is 0"),
        ("FRONTEND_URL", ",", "an origin in it is empty"),
        ("FRONTEND_URL", "http://a,", "an origin in it is empty"),
        ("AWS_DEFAULT_REGION", "Ireland", FORM),
        ("AWS_DEFAULT_REGION", "eu-west", FORM),
        ("AWS_DEFAULT_REGION", "eu-west-1/", FORM),
        ("AWS_DEFAULT_REGION", "EU-WEST-1", FORM),
        ("AWS_COGNITO_USER_POOL_ID", "eu-west-1", FORM),
        ("AWS_COGNITO_USER_POOL_ID", "eu-west-1_a/b", FORM),
        ("AWS_COGNITO_USER_POOL_ID", "eu-west-1_a b", FORM),
        ("AWS_COGNITO_USER_POOL_ID", f"eu-west-1_{'a' * 55}", FORM),
        ("AWS_COGNITO_USER_POOL_ID", "eu-west-1_AbCdEfGhI", "its region is not that of AWS_DEFAULT_REGION"),
        ("AWS_COGNITO_USER_POOL_ID", "us-east-1_x_AbCdEfGhI", "its region is not that of AWS_DEFAULT_REGION"),
        ("AWS_COGNITO_USER_POOL_CLIENT_ID", "a-b", FORM),
        ("AWS_COGNITO_USER_POOL_CLIENT_ID", "a" * 129, "it has more than 128 characters"),
        ("AWS_COGNITO_JWKS_URL", "http://pool.example/jwks.json", "it is plain http beyond this machine"),
        ("AWS_COGNITO_JWKS_URL", "http://localhost.example/", "it is plain http beyond this machine"),
        ("AWS_COGNITO_JWKS_URL", "file://jwks.json", "its path is not absolute: file:/// comes before it"),
        ("AWS_COGNITO_JWKS_URL", "jwks.json", "it has no scheme, such as https://"),
        ("AWS_COGNITO_JWKS_URL", "https://", "it has no host"),
        ("AWS_COGNITO_JWKS_URL", "https://u:p@a/", "it holds a user or a password"),
        ("AWS_COGNITO_JWKS_URL", "https://u:1/p@a/", "it holds a user or a password"),
        ("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "https://u:p@a/", "it holds a user or a password"),
        ("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "http://aws.example", "it is plain http beyond this machine"),
        ("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "file:///aws", "its scheme is not http or https"),
        ("AWS_COGNITO_DOMAIN", "cruddur.auth.us-east-1.amazoncognito.com", "it has no scheme: http:// or https://"),
        ("AWS_COGNITO_DOMAIN", "https://login.example/", "it has a trailing slash"),
        ("AWS_COGNITO_DOMAIN", "https://login.example/login", "it has a path"),
        ("AWS_COGNITO_DOMAIN", "http://login.example", "it is plain http beyond this machine"),
        ("AWS_COGNITO_DOMAIN", "https://u:p@login.example", "it holds a user or a password"),
        ("AWS_COGNITO_DOMAIN", "https://*.example", "it holds a wildcard"),
        ("AWS_COGNITO_DOMAIN", "https://a;script-src", LOGIN_HOST),
        ("AWS_COGNITO_DOMAIN", "https://a,b", LOGIN_HOST),
        ("AWS_COGNITO_DOMAIN", "https://ä", LOGIN_HOST),
        ("AWS_COGNITO_DOMAIN", "http://[::1]:5000", LOGIN_HOST),
        ("HOST", "localhost", "it is not an IPv4 or IPv6 address: names are not looked up"),
        ("HOST", "256.0.0.1", "it is not an IPv4 or IPv6 address: names are not looked up"),
        ("PORT", "-1", DIGITS),
        ("PORT", "+4567", DIGITS),
        ("PORT", "4_567", DIGITS),
        ("PORT", "4567.0", DIGITS),
        ("PORT", "٤", DIGITS),
        ("PORT", "4567 ", "it begins or ends with a space"),
        ("PORT", '"4567"', "it is in quotes"),
        ("PORT", "4567\r", "it ends in a control character (U+000D)"),
        ("PORT", "4567\r\n", "it ends in a control character (U+000A)"),
        ("PORT", "\t4567", "it starts with a control character (U+0009)"),
        ("PORT", "45\x7f67", "it holds a control character (U+007F)"),
        ("PORT", "\ufeff4567", "it starts with an invisible character (U+FEFF)"),
        ("PORT", "4567\xa0", "it ends in an invisible character (U+00A0)"),
        ("PORT", "0", "it is below 1"),
        ("PORT", "65536", "it is above 65535"),
        ("PORT", "9" * 5000, "it has too many digits"),
        ("WEB_CONCURRENCY", "0", "it is below 1"),
        ("WEB_CONCURRENCY", "257", "it is above 256"),
        ("TRUSTED_PROXIES", "11", "it is above 10"),
        ("TRUSTED_PROXIES", "-1", DIGITS),
        ("IDLE_TIMEOUT_SECONDS", "0", "it is below 1"),
        ("IDLE_TIMEOUT_SECONDS", "301", "it is above 300"),
        ("RATE_LIMIT_ANONYMOUS_READS", "0", "it is below 1"),
        ("RATE_LIMIT_ANONYMOUS_READS", "1000000", "it is above 999999"),
        ("RATE_LIMIT_ANONYMOUS_READS", "60/minute", DIGITS),
        ("RATE_LIMIT_USER_READS", "0", "it is below 1"),
        ("RATE_LIMIT_USER_READS", "1000000", "it is above 999999"),
        ("RATE_LIMIT_USER_READS", "60/minute", DIGITS),
        ("RATE_LIMIT_USER_WRITES", "0", "it is below 1"),
        ("RATE_LIMIT_USER_WRITES", "1000000", "it is above 999999"),
        ("RATE_LIMIT_USER_WRITES", "60/minute", DIGITS),
        ("RATE_LIMIT_SEARCHES", "0", "it is below 1"),
        ("RATE_LIMIT_SEARCHES", "1000000", "it is above 999999"),
        ("RATE_LIMIT_SEARCHES", "60/minute", DIGITS),
        ("RATE_LIMIT_REJECTED_TOKENS", "0", "it is below 1"),
        ("RATE_LIMIT_REJECTED_TOKENS", "1000000", "it is above 999999"),
        ("RATE_LIMIT_REJECTED_TOKENS", "60/minute", DIGITS),
        ("RATE_LIMIT_STORAGE_URL", "localhost:6379", "it has no scheme: redis:// or rediss://"),
        ("RATE_LIMIT_STORAGE_URL", "memory://", "its scheme is not redis or rediss"),
        ("RATE_LIMIT_STORAGE_URL", "redis:///0", "it has no host"),
        ("RATE_LIMIT_STORAGE_URL", "redis://a:0", "its port is 0"),
        ("RATE_LIMIT_STORAGE_URL", "redis://a:port", "its host or its port is malformed"),
        ("RATE_LIMIT_STORAGE_URL", "redis://a/name", "its path is not the number of a database"),
        ("RATE_LIMIT_STORAGE_URL", "redis://a?db=1", "it has a query or a fragment"),
        ("RATE_LIMIT_STORAGE_URL", "redis://a#1", "it has a query or a fragment"),
        ("READ_CONNECTION_URL", "postgresql://u@h", "it names no database"),
        ("READ_CONNECTION_URL", "postgresql://u@h/d?target_session_attrs=any", OTHER_SERVERS),
        ("READ_CONNECTION_URL", "postgresql://u@h/d?target_session_attrs=prefer-standby", OTHER_SERVERS),
        ("DATABASE_AUTH", "kerberos", CHOICES),
        ("DATABASE_PREPARE", "false", CHOICES),
        ("DATABASE_PREPARE", "OFF", CHOICES),
        ("DELETION_LEDGER", "deletions.ledger", "it does not have that form"),
        ("DELETION_LEDGER", "/backups/", "it does not have that form"),
        ("DATABASE_TIMEOUT_SECONDS", "0", "it is below 1"),
        ("DATABASE_TIMEOUT_SECONDS", "61", "it is above 60"),
        ("DATABASE_TIMEOUT_SECONDS", "2.5", DIGITS),
        ("DRAIN_SECONDS", "11", "it is above 10"),
        ("BACKUP_RETENTION_DAYS", "0", "it is below 1"),
        ("BACKUP_RETENTION_DAYS", "3651", "it is above 3650"),
        ("ACCESS_LOG", "true", CHOICES),
        ("ACCESS_LOG", "OFF", CHOICES),
        ("LOG_LEVEL", "debug", CHOICES),
        ("LOG_LEVEL", "INFO", CHOICES),
        ("OTEL_TRACES_EXPORTER", "zipkin", CHOICES),
        ("OTEL_METRICS_EXPORTER", "console", CHOICES),
        ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote", CHOICES),
        ("OTEL_TRACES_SAMPLER_ARG", "1.1", "it is above 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "-0.1", "it is not a decimal number"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", "it is not a decimal number"),
        ("OTEL_TRACES_SAMPLER_ARG", "half", "it is not a decimal number"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "api.honeycomb.io", "it has no scheme, such as https://"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://a:4317", "its scheme is not http or https"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://", "it has no host"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key", "a header in it has no ="),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,=key", "the name of a header in it holds another character"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x team=key", "the name of a header in it holds another character"),
        ("OTEL_EXPORTER_OTLP_HEADERS", 'x-team="key"', 'a value in it holds a ", \\ or ;, which are written'),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=“key”", "a value in it holds another character than printable ASCII"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-team=%E2%80%9Ckey", "a value in it holds another character than"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=b%0Akey", "a value in it holds another character than"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "it is below 1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8193", "it is above OTEL_BSP_MAX_QUEUE_SIZE"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s", DIGITS),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "it is below 1"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "never", CHOICES),
    ],
)
def test_malformed_value_is_reported_with_reason_and_rule(name: str, value: str, reason: str) -> None:
    line = fault(name, value)

    assert line.startswith(f"{name} is malformed: {reason}")
    assert line.endswith(f"; {name} is {FIELDS[name].description}, such as {name}={example(name)}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("character", ["\r", "\x01", "\x85"])
def test_control_character_is_reported_in_every_setting(name: str, character: str) -> None:
    line = fault(name, f"{example(name)}{character}")

    assert line.startswith(f"{name} is malformed: it ends in a control character (U+{ord(character):04X}); ")


# Secrets in the places that a library's own message would quote.
SECRETS = [
    "s3cr3t!",
    "'s3cr3t'",
    " s3cr3t ",
    "s3cr3t\r",
    "s3cr3t\udcff",
    "postgresql://u:s3cr3t@s3cr3t@s3cr3t/d",
    "postgresql://u:s3cr3t%zz@s3cr3t/d",
    "postgresql://u:p/s3cr3t@h/d",
    "postgresql://u:p@h:s3cr3t/d",
    "postgresql://u:p@[s3cr3t/d",
    "postgresql://h/d?s3cr3t=s3cr3t",
    "host=s3cr3t s3cr3t",
    "password='s3cr3t",
    "http://u:s3cr3t@h:s3cr3t/",
    "http://[s3cr3t",
    "https://[s3cr3t]/",
    "http://s3cr3t℀/",
    "http://s3cr3t.example/s3cr3t?s3cr3t",
    "file://s3cr3t",
    "s3cr3t://h",
    "1_s3cr3t/s3cr3t",
]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FLAGS])
@pytest.mark.parametrize("value", SECRETS)
def test_error_never_quotes_the_value(name: str, value: str) -> None:
    with pytest.raises(CommandError) as failure:
        load(**REQUIRED | {name: value})

    assert "s3cr3t" not in f"{failure.value}{failure.value.__cause__}{failure.value.__context__}"
    assert str(failure.value).startswith(f"{name} is malformed: ")
    assert len(str(failure.value).splitlines()) == 1


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["s3cr3t", "'s3cr3t=s3cr3t'", "s3cr3t://s3cr3t=s3cr3t", "s3cr3t=s3cr3t;é", "=s3cr3t"])
def test_error_never_quotes_collector_settings(name: str, value: str) -> None:
    line = fault(name, value)

    assert line.startswith(f"{name} is malformed: ")
    assert "s3cr3t" not in line


def test_pydantic_error_never_quotes_the_value() -> None:
    with pytest.raises(ValidationError) as error:
        Config(connection_url="postgresql://u:s3cr3t@@h/d", frontend_urls=("s3cr3t",))

    assert "s3cr3t" not in f"{error.value}{error.value!r}"


def test_repr_hides_passwords() -> None:
    names = ("SERVICE_CONNECTION_URL", "READ_CONNECTION_URL")
    urls = dict.fromkeys(names, "postgresql://u:s3cr3t@h/d") | {"RATE_LIMIT_STORAGE_URL": "redis://:s3cr3t@h"}
    config = load(**REQUIRED, **urls)

    assert "p%2Fw" not in f"{config}{config!r}"
    assert "s3cr3t" not in f"{config}{config!r}"


@pytest.mark.parametrize(
    ("name", "value", "field", "found"),
    [
        ("PORT", "1", "port", 1),
        ("PORT", "65535", "port", 65535),
        ("PORT", "04567", "port", 4567),
        ("WEB_CONCURRENCY", "1", "workers", 1),
        ("WEB_CONCURRENCY", "256", "workers", 256),
        ("TRUSTED_PROXIES", "0", "trusted_proxies", 0),
        ("TRUSTED_PROXIES", "10", "trusted_proxies", 10),
        ("IDLE_TIMEOUT_SECONDS", "1", "idle_timeout", 1),
        ("IDLE_TIMEOUT_SECONDS", "300", "idle_timeout", 300),
        ("RATE_LIMIT_ANONYMOUS_READS", "1", "rate_limit_anonymous_reads", 1),
        ("RATE_LIMIT_ANONYMOUS_READS", "999999", "rate_limit_anonymous_reads", 999_999),
        ("RATE_LIMIT_USER_READS", "1", "rate_limit_user_reads", 1),
        ("RATE_LIMIT_USER_READS", "999999", "rate_limit_user_reads", 999_999),
        ("RATE_LIMIT_USER_WRITES", "1", "rate_limit_user_writes", 1),
        ("RATE_LIMIT_USER_WRITES", "999999", "rate_limit_user_writes", 999_999),
        ("RATE_LIMIT_SEARCHES", "1", "rate_limit_searches", 1),
        ("RATE_LIMIT_SEARCHES", "999999", "rate_limit_searches", 999_999),
        ("RATE_LIMIT_REJECTED_TOKENS", "1", "rate_limit_rejected_tokens", 1),
        ("RATE_LIMIT_REJECTED_TOKENS", "999999", "rate_limit_rejected_tokens", 999_999),
        ("READ_CONNECTION_URL", STANDBYS, "read_connection_url", STANDBYS),
        ("RATE_LIMIT_STORAGE_URL", "redis://[::1]", "rate_limit_storage_url", "redis://[::1]"),
        ("RATE_LIMIT_STORAGE_URL", "rediss://:p%2F@a:1/15", "rate_limit_storage_url", "rediss://:p%2F@a:1/15"),
        ("DELETION_LEDGER", "/a", "deletion_ledger", "/a"),
        ("DATABASE_PREPARE", "on", "database_prepare", "on"),
        ("DATABASE_PREPARE", "off", "database_prepare", "off"),
        ("DATABASE_TIMEOUT_SECONDS", "1", "database_timeout", 1),
        ("DATABASE_TIMEOUT_SECONDS", "60", "database_timeout", 60),
        ("DRAIN_SECONDS", "0", "drain", 0),
        ("DRAIN_SECONDS", "10", "drain", 10),
        ("BACKUP_RETENTION_DAYS", "1", "backup_retention", 1),
        ("BACKUP_RETENTION_DAYS", "3650", "backup_retention", 3650),
        ("OTEL_TRACES_SAMPLER_ARG", "0", "otel_traces_sampler_arg", 0.0),
        ("OTEL_TRACES_SAMPLER_ARG", ".5", "otel_traces_sampler_arg", 0.5),
        ("OTEL_TRACES_SAMPLER_ARG", "1e-3", "otel_traces_sampler_arg", 0.001),
        ("OTEL_TRACES_SAMPLER_ARG", "1.0", "otel_traces_sampler_arg", 1.0),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b=c, x-team = a%20key,", "has_otlp_headers", True),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8192", "otel_batch_size", 8192),
        ("HOST", "::1", "host", "::1"),
        ("HOST", "0:0:0:0:0:0:0:1", "host", "::1"),
        ("AWS_COGNITO_USER_POOL_ID", f"us-east-1_{'a' * 54}", "user_pool_id", f"us-east-1_{'a' * 54}"),
        ("AWS_COGNITO_USER_POOL_CLIENT_ID", "a" * 128, "user_pool_client_id", "a" * 128),
        ("FRONTEND_URL", "http://a:443", "frontend_urls", ("http://a:443",)),
        ("FRONTEND_URL", "https://a:80", "frontend_urls", ("https://a:80",)),
        ("FRONTEND_URL", "http://a:8080", "frontend_urls", ("http://a:8080",)),
        (
            "FRONTEND_URL",
            "https://a.example, http://[::1]:3000",
            "frontend_urls",
            ("https://a.example", "http://[::1]:3000"),
        ),
    ],
)
def test_value_at_its_limit_is_accepted(name: str, value: str, field: str, found: Any) -> None:
    assert getattr(load(**REQUIRED | {name: value}), field) == found


@pytest.mark.parametrize(
    ("environ", "has_access_log"),
    [
        ({}, True),
        ({"ACCESS_LOG": "on"}, True),
        ({"ACCESS_LOG": "off"}, False),
        ({"LOG_LEVEL": "info"}, True),
        ({"LOG_LEVEL": "warning"}, False),
        ({"ACCESS_LOG": "", "LOG_LEVEL": "warning"}, False),
        ({"ACCESS_LOG": "on", "LOG_LEVEL": "warning"}, True),
        ({"ACCESS_LOG": "off", "LOG_LEVEL": "info"}, False),
    ],
)
def test_access_log_comes_before_its_old_name(environ: dict[str, str], *, has_access_log: bool) -> None:
    assert load(**REQUIRED, **environ).has_access_log is has_access_log


@pytest.mark.parametrize("region", ["us-gov-west-1", "eu-central-2", "ap-southeast-1"])
def test_user_pool_issuer_has_the_configured_region(region: str) -> None:
    config = load(**REQUIRED | {"AWS_DEFAULT_REGION": region, "AWS_COGNITO_USER_POOL_ID": f"{region}_a"})

    assert config.user_pool.issuer == f"https://cognito-idp.{region}.amazonaws.com/{region}_a"


# A password for each character that a URL needs percent-encoded, and passwords that turn it into another valid URL.
PASSWORDS = [
    *(f"s3cr3t{sign}s3cr3t" for sign in "@/?#[]% "),
    *(
        "s3cr3t/@",
        "1/s3cr3t",
        "@h/s3cr3t",
        "s3cr3t@1/s3cr3t",
        "a@b?dbname=s3cr3t",
        "1/s3cr3t?s3cr3t",
        "%s3",
        "s3cr3t%4",
    ),
]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("CONNECTION_URL", "postgresql://user:{}@db:5432/cruddur"),
        ("SERVICE_CONNECTION_URL", "postgres://{}@db/cruddur?sslmode=require"),
        ("READ_CONNECTION_URL", "postgres://{}@standby/cruddur?sslmode=require"),
        ("RATE_LIMIT_STORAGE_URL", "rediss://:{}@redis:6379/0"),
    ],
)
def test_password_without_percent_encoding_is_reported_as_such(name: str, url: str, password: str) -> None:
    line = fault(name, url.format(password))

    assert line.startswith(f"{name} is malformed: {NOT_ENCODED}; ")
    assert "s3" not in line
    # The same password passes in the encoding of docs/development.md.
    assert getattr(load(**REQUIRED | {name: url.format(quote(password, safe=""))}), name.lower())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p:!$&'()*+,;=-._~é@[::1]:5432/cruddur",
        "postgresql://user:%2F%3F%23%40%25!@localhost/cruddur?sslmode=verify-full&options=-c%20geqo%3Doff",
        "postgresql://one:5432,two:5433/cruddur?target_session_attrs=read-write",
        "postgresql://user@/cruddur?host=%2Fvar%2Frun%2Fwith%20space",
        "postgres://h/d",
        "host=/tmp dbname=cruddur",
        "host=@abstract dbname='the tests' user=me",
    ],
)
def test_connection_url_accepts_libpqs_syntax(url: str) -> None:
    assert load(**REQUIRED | {"CONNECTION_URL": url}).connection_url == url
    assert check_connection_url(url) == url


DEVELOPMENT = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_COGNITO_USER_POOL_ID": DEVELOPMENT_POOL_ID}
LOGIN = "https://cruddur.auth.eu-west-1.amazoncognito.com"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, SignIn(kind="none")),
        ({"AWS_COGNITO_DOMAIN": ""}, SignIn(kind="none")),
        ({"AWS_COGNITO_DOMAIN": LOGIN}, SignIn(kind="cognito", domain=LOGIN, client_id="client")),
        (
            {"AWS_COGNITO_DOMAIN": "http://127.0.0.1:5000"},
            SignIn(kind="cognito", domain="http://127.0.0.1:5000", client_id="client"),
        ),
        (DEVELOPMENT, SignIn(kind="development")),
        # The key pair signs all tokens, so a managed login would lead nowhere.
        (DEVELOPMENT | {"AWS_COGNITO_DOMAIN": LOGIN}, SignIn(kind="development")),
    ],
)
def test_sign_in_depends_on_the_user_pool_and_its_domain(environ: dict[str, str], expected: SignIn) -> None:
    assert load(**REQUIRED | environ).sign_in == expected


def test_user_pool_addresses_default_to_cognitos() -> None:
    assert load(**REQUIRED).user_pool == UserPool(
        issuer=f"{COGNITO}/us-east-1_AbCdEfGhI",
        client_id="client",
        jwks_url=f"{COGNITO}/us-east-1_AbCdEfGhI/.well-known/jwks.json",
        endpoint=COGNITO,
    )


@pytest.mark.parametrize(
    ("jwks_url", "endpoint"),
    [
        ("file:///srv/a%20folder/jwks.json", "http://127.0.0.1:5000"),
        ("http://localhost:5000/jwks.json", "https://cognito.example"),
        ("https://pool.example/jwks.json", "http://[::1]:5000"),
    ],
)
def test_user_pool_addresses_can_be_overridden(jwks_url: str, endpoint: str) -> None:
    addresses = {"AWS_COGNITO_JWKS_URL": jwks_url, "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": endpoint}

    pool = load(**REQUIRED | addresses).user_pool

    assert (pool.jwks_url, pool.endpoint) == (jwks_url, endpoint)
    assert pool.issuer == f"{COGNITO}/us-east-1_AbCdEfGhI"


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, "none", "none"),
        ({"ENDPOINT": ""}, "none", "none"),
        ({"ENDPOINT": "http://a"}, "otlp", "otlp"),
        ({"TRACES_ENDPOINT": "http://a/v1/traces"}, "otlp", "none"),
        ({"METRICS_ENDPOINT": "http://a/v1/metrics"}, "none", "otlp"),
    ],
)
def test_otlp_endpoint_enables_its_exporters(environ: dict[str, str], traces: str, metrics: str) -> None:
    config = load(**REQUIRED, **{f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environ.items()})

    assert (config.traces_exporter, config.metrics_exporter) == (traces, metrics)


@pytest.mark.parametrize("endpoint", ["", "http://localhost:4318"])
@pytest.mark.parametrize(("traces", "metrics"), [("otlp", "none"), ("console", "otlp"), ("none", "none")])
def test_named_exporter_overrides_the_endpoints_default(endpoint: str, traces: str, metrics: str) -> None:
    exporters = {
        "OTEL_TRACES_EXPORTER": traces,
        "OTEL_METRICS_EXPORTER": metrics,
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
    }

    config = load(**REQUIRED, **exporters)

    assert (config.traces_exporter, config.metrics_exporter) == (traces, metrics)


def test_developers_own_settings_reach_no_test() -> None:
    assert os.environ.keys() & set(NAMES) == set()
