"""How the text of a setting is read: each reader raises `ValueError` for what is malformed."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict


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


def one_of(*words: str) -> Callable[[str], str]:
    """A reader of one of these words, which raises `ValueError`."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return read


def share(text: str) -> float:
    """A number from 0 to 1. Raises `ValueError`."""
    found = float(text)
    if not 0 <= found <= 1:
        raise ValueError
    return found


def pairs(text: str) -> dict[str, str]:
    """`name=value,name=value`, percent-encoded (W3C Baggage's form). Raises `ValueError`."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ValueError
        found[unquote(name).strip()] = unquote(value).strip()
    return found
