"""The types of settings. Each check gives the reason why it rejects a value.

Operators and logs see the reason, which quotes no part of the value: the value may be a secret.
"""

import re
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from lib.conninfo import check_connection_url, check_standby_url, check_userinfo

# Hosts to which plain HTTP does not leave the machine.
THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}


def digits(value: Any) -> Any:
    """Raise `ValueError` for a text with other characters than ASCII digits. pydantic would accept 4_567 and +4567."""
    if isinstance(value, str) and not re.fullmatch("[0-9]+", value):
        raise ValueError("it is not made of the digits 0 to 9 alone")
    return value


def decimal(value: Any) -> Any:
    """Raise `ValueError` for a text that is not a decimal number."""
    if isinstance(value, str) and not re.fullmatch(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE]-?[0-9]{1,3})?", value):
        raise ValueError("it is not a decimal number")
    return value


def split(value: Any) -> Any:
    """Return the parts of a text between commas."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def check_address(text: str) -> str:
    """Return an IP address in its usual form. Raises `ValueError`."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("it is not an IPv4 or IPv6 address: names are not looked up") from None


def check_url(text: str) -> str:
    """Return an HTTP URL that has a host. Raises `ValueError`."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("its host or its port is malformed") from None
    if "://" not in text:
        raise ValueError("it has no scheme, such as https://")
    if parts.scheme not in {"http", "https"}:
        raise ValueError("its scheme is not http or https")
    if not host:
        raise ValueError("it has no host")
    if port == 0:
        raise ValueError("its port is 0")
    return text


def check_headers(text: str) -> str:
    """Return headers in the syntax of OpenTelemetry's SDK. Raises `ValueError` when one of them can't be sent.

    The SDK would omit such a header, or fail with each batch: RFC 9110, section 5.
    """
    for header in filter(str.strip, text.split(",")):
        name, equals, value = header.partition("=")
        if not equals:
            raise ValueError("a header in it has no =")
        if not re.fullmatch("[A-Za-z0-9!#$&'*+.^_`|~-]+", name.strip()):
            raise ValueError("the name of a header in it holds another character than letters, digits and -")
        if re.search(r'["\\;]', value):
            raise ValueError('a value in it holds a ", \\ or ;, which are written %22, %5C and %3B')
        if not re.fullmatch("[ -~]*", unquote(value).strip()):
            raise ValueError("a value in it holds another character than printable ASCII")
    return text


def check_redis_url(text: str) -> str:
    """Return the URL of a Redis database. Raises `ValueError`."""
    check_userinfo(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("its host or its port is malformed") from None
    faults = (
        ("://" not in text, "it has no scheme: redis:// or rediss://"),
        (parts.scheme not in {"redis", "rediss"}, "its scheme is not redis or rediss"),
        (not host, "it has no host"),
        (port == 0, "its port is 0"),
        (not re.fullmatch("/?|/[0-9]{1,4}", parts.path), "its path is not the number of a database"),
        # The Redis client would take each parameter as one of its options.
        (parts.query or parts.fragment, "it has a query or a fragment"),
    )
    for is_fault, reason in faults:
        if is_fault:
            raise ValueError(reason)
    return text


def check_private_url(text: str) -> str:
    """Return a URL that is safe for tokens and keys: HTTPS, or HTTP within this machine. Raises `ValueError`."""
    if "@" in text:
        # The service sends no user or password, and error messages quote the URL.
        raise ValueError("it holds a user or a password, or an @ that is not percent-encoded (%40)")
    parts = urlsplit(check_url(text))
    if parts.scheme == "http" and parts.hostname not in THIS_MACHINE:
        raise ValueError("it is plain http beyond this machine")
    return text


def check_key_set_url(text: str) -> str:
    """Return a private URL, or the URL of a file. Raises `ValueError`."""
    if text.startswith("file:///"):
        return text
    if text.startswith("file:"):
        raise ValueError("its path is not absolute: file:/// comes before it")
    return check_private_url(text)


def check_origin(text: str) -> str:
    """Return an origin in the form that browsers send (RFC 6454). Raises `ValueError`."""
    for pattern, reason in ORIGIN_FAULTS:
        if re.search(pattern, text):
            raise ValueError(reason)
    return check_url(text)


def check_sign_in_origin(text: str) -> str:
    """Return an origin that is safe for tokens and has a place in a Content-Security-Policy. Raises `ValueError`."""
    # In a policy `;` and `,` would begin another directive, and CSP has no notation for IPv6 addresses.
    if re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]+)?", check_origin(text)) is None:
        raise ValueError("its host or port holds another character than lower case letters, digits, - and .")
    return check_private_url(text)


# The first pattern that matches gives the reason.
ORIGIN_FAULTS = (
    (r"^$", "an origin in it is empty"),
    (r"\*", "it holds a wildcard"),
    (r"\s", "it holds white space"),
    (r"[A-Z]", "it holds an upper case letter"),
    (r"^(?!.*://)", "it has no scheme: http:// or https://"),
    (r"^(?!https?://)", "its scheme is not http or https"),
    (r"://$", "it has no host"),
    (r"@", "it holds a user or a password"),
    (r"[?#]", "it has a query or a fragment"),
    (r"^https?://[^/]*/$", "it has a trailing slash"),
    (r"^https?://.*/", "it has a path"),
    (r"^http:.*:80$|^https:.*:443$", "it names its scheme's default port"),
)


WholeNumber = Annotated[int, BeforeValidator(digits)]
Decimal = Annotated[float, BeforeValidator(decimal)]
ConnectionURL = Annotated[str, AfterValidator(check_connection_url)]
StandbyURL = Annotated[str, AfterValidator(check_standby_url)]
Origin = Annotated[str, AfterValidator(check_origin)]
# NoDecode: pydantic-settings would otherwise parse the value of a tuple as JSON.
Origins = Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(split)]
SignInOrigin = Annotated[str, AfterValidator(check_sign_in_origin)]
KeySetURL = Annotated[str, AfterValidator(check_key_set_url)]
RedisURL = Annotated[str, AfterValidator(check_redis_url)]
PrivateURL = Annotated[str, AfterValidator(check_private_url)]
Address = Annotated[str, AfterValidator(check_address)]
# OpenTelemetry's SDK reads these settings itself. The model stores only whether they are set.
Endpoint = Annotated[bool, BeforeValidator(lambda value: bool(value and check_url(value)))]
Headers = Annotated[bool, BeforeValidator(lambda value: bool(value and check_headers(value)))]
