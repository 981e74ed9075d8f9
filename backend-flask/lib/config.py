"""The settings: read once from the environment, every fault in them named at the start."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from lib.failure import Failure


def connection_url(text: str) -> str:
    """A libpq URL or connection string that names its database. Raises `ValueError`."""
    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError as error:
        raise ValueError from error
    # A password with a bare @ or / in it leaves its rest in what is taken for host and port.
    host = str(parts.get("host", ""))
    if not parts.get("dbname") or ("@" in host.lstrip("@")) or not re.fullmatch("[0-9,]*", str(parts.get("port", ""))):
        raise ValueError
    return text


def origins(text: str) -> tuple[str, ...]:
    """Origins as browsers send them (RFC 6454), parted by commas. Raises `ValueError`."""
    found = tuple(part.strip() for part in text.split(","))
    for origin in found:
        # Lower case, and without the port that the scheme has anyway.
        usual = f":{80 if origin.startswith('http:') else 443}"
        if not re.fullmatch(r"https?://[^\sA-Z/?#@*]+", origin) or origin.endswith(usual):
            raise ValueError
        url(origin)
    return found


def url(text: str) -> str:
    """A URL of HTTP with a host. Raises `ValueError`."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError
    return text


def address(text: str) -> str:
    """An IPv4 or IPv6 address. Raises `ValueError`."""
    return str(ip_address(text))


def number(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`, which raises `ValueError`."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return read


def private_url(text: str) -> str:
    """A URL that tokens and keys may travel by: of HTTPS, or plain HTTP that stays on this machine.

    Raises `ValueError`.
    """
    parts = urlsplit(url(text))
    if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise ValueError
    return text


def key_set_url(text: str) -> str:
    """Where a key set is: a `private_url`, or a file by its full path. Raises `ValueError`."""
    return text if text.startswith("file:///") else private_url(text)


def matching(pattern: str) -> Callable[[str], str]:
    """A reader of texts that are of the form `pattern`, which raises `ValueError`."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return read


def exporter(text: str) -> str:
    """Where spans go, in OpenTelemetry's words. Raises `ValueError`."""
    if text not in {"otlp", "console", "none"}:
        raise ValueError
    return text


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
    "DATABASE_TIMEOUT_SECONDS": Setting(number(1, 60), "2", default="2"),
    "DRAIN_SECONDS": Setting(number(0, 10), "5", default="5"),
    "AWS_DEFAULT_REGION": Setting(matching(r"[a-z]{2,}(-[a-z]+)+-[0-9]+"), "eu-west-1"),
    # The forms that Cognito's API reference gives for UserPoolId and ClientId.
    "AWS_COGNITO_USER_POOL_ID": Setting(matching(r"[\w-]{1,45}_[0-9a-zA-Z]{1,54}"), "eu-west-1_AbCdEfGhI"),
    "AWS_COGNITO_USER_POOL_CLIENT_ID": Setting(matching(r"[\w+]{1,128}"), "1h57kf5cpq17m0eml12EXAMPLE"),
    "AWS_COGNITO_JWKS_URL": Setting(key_set_url, "file:///srv/cruddur/jwks.json"),
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": Setting(private_url, "http://127.0.0.1:5000"),
    "OTEL_TRACES_EXPORTER": Setting(exporter, "otlp"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": Setting(url, "https://api.honeycomb.io"),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": Setting(url, "https://api.honeycomb.io/v1/traces"),
}
COGNITO_SETTINGS = ("AWS_DEFAULT_REGION", "AWS_COGNITO_USER_POOL_ID", "AWS_COGNITO_USER_POOL_CLIENT_ID")
COGNITO_ADDRESSES = ("AWS_COGNITO_JWKS_URL", "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER")
OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


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
    # Seconds that a request may wait for the database.
    database_timeout: int = 2
    # Seconds between the word to stop and the stop.
    drain: int = 5
    traces_exporter: str = "none"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings in `environ`. Raises `Failure` with a line for each fault."""
        faults = []

        def read(name: str, default: str | None = None) -> Any:
            setting = SETTINGS[name]
            text = environ.get(name) or default or setting.default
            try:
                if text:
                    return setting.read(text)
                faults.append(f"{name} is not set; a right value: {name}={setting.example}")
            except ValueError:
                # The value stays out of the message: it may hold a password.
                faults.append(f"{name} is malformed; a right value: {name}={setting.example}")

        # OpenTelemetry reads these itself, and tells of a malformed one with every span.
        endpoints = [read(name) for name in OTLP_ENDPOINTS if environ.get(name)]
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
            database_timeout=read("DATABASE_TIMEOUT_SECONDS"),
            drain=read("DRAIN_SECONDS"),
            traces_exporter=read("OTEL_TRACES_EXPORTER", "otlp" if endpoints else "none"),
        )
        if faults:
            raise Failure("\n".join(faults))
        return config
