"""Connection strings: checks, our defaults, and a provider that the pool calls for each new connection.

With DATABASE_AUTH=iam the provider puts a fresh RDS token, valid for a quarter of an hour, in place of the password:
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
"""

import re
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lib.command_errors import ConfigError
from lib.text import is_blank

if TYPE_CHECKING:
    from botocore.session import Session

TOKEN_SECONDS = 900
# Our defaults for parameters that a connection string leaves out. Without them libpq waits 130 s for a server
# that drops packets, and for hours on a connection whose other end is gone.
DEFAULTS = {
    "fallback_application_name": "cruddur",
    "connect_timeout": "2",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
}
# This overrides libpq's environment, a service file and the server's role: the service sends Postgres's JSON unchanged.
ALWAYS = {"client_encoding": "UTF8"}
CONNECTION_URL_RULE = "a URL or a connection string of libpq's that names its database"
# The value of `target_session_attrs` for a server in recovery.
STANDBY = "standby"
# The text check leaves these out: a password may hold any character.
SECRETS = {"password", "sslpassword"}
# RFC 3986, section 3.2.1. Other characters without a meaning in URLs are allowed too.
USERINFO = re.compile(r"(?:[^@/?#\[\]% ]|%[0-9A-Fa-f]{2})*")
NOT_ENCODED = (
    "a user or a password in it is not percent-encoded (@ is written %40, : %3A, / %2F, ? %3F, # %23, [ %5B, ] %5D, "
    "% %25, a space %20), or another @ in it is not"
)
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_CommonTasks.Connect.html
RDS_HOST = re.compile(r"\.([a-z0-9-]+)\.rds\.amazonaws\.com(\.cn)?\.?$", re.IGNORECASE)


def check_connection_url(text: str) -> str:
    """Return `text`, a URL or a connection string of libpq's that names its database.

    Raises `ValueError` with the reason. The reason quotes no part of the URL, which may hold a password.
    """
    check_text(text)
    is_url = re.match("postgres(ql)?://", text)
    if is_url:
        check_userinfo(text)
    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError:
        raise ValueError(syntax_fault(text, is_url=bool(is_url))) from None
    if not re.fullmatch("[0-9,]*", str(parts.get("port", ""))):
        raise ValueError("its port is not a number")
    if not parts.get("dbname"):
        raise ValueError("it names no database")
    if "client_encoding" in parts:
        raise ValueError("it sets client_encoding, which is UTF8 always: leave it out")
    # Check each part's text again, because percent-encoding may have hidden a control character.
    for name in [name for name in parts if name not in SECRETS]:
        try:
            check_text(str(parts[name]))
        except ValueError as error:
            raise ValueError(str(error).replace("it", f"its {name}", 1)) from None
    return text


def check_standby_url(text: str) -> str:
    """Return `text`, a connection string of one or several standbys.

    Raises `ValueError` with the reason, which quotes no part of the URL.
    """
    check_connection_url(text)
    if conninfo_to_dict(text).get("target_session_attrs", STANDBY) != STANDBY:
        raise ValueError("its target_session_attrs is not standby: leave it out")
    return text


def standby_url(text: str) -> str:
    """Return the connection string `text` with the parameter that has libpq accept standbys alone."""
    return make_conninfo(text, target_session_attrs=STANDBY)


def check_userinfo(url: str) -> None:
    """Raise `ValueError` when a user or a password in a URL is not percent-encoded.

    libpq would take the rest of the password for a host, a port or a database, and quote it in its error message.
    """
    userinfo, at, rest = url.partition("://")[2].partition("@")
    if at and ("@" in rest or not USERINFO.fullmatch(userinfo)):
        raise ValueError(NOT_ENCODED)


def syntax_fault(text: str, *, is_url: bool) -> str:
    """Return why libpq can't read a URL or a connection string."""
    if is_url and re.search("%(?![0-9a-fA-F]{2})", text):
        return "a % in it is not followed by two hexadecimal digits: % itself is written %25"
    if "://" in text and not is_url:
        return "its scheme is not postgresql"
    return "it is not in libpq's syntax, or has a parameter that libpq does not know"


def check_text(text: str) -> str:
    """Return a setting's text. Raises `ValueError` for characters that files, shells and editors leave in it.

    Such characters are controls, surrounding spaces, and quotes.
    """
    categories = [unicodedata.category(character) for character in text]
    for place, index in (("ends in", -1), ("starts with", 0)):
        # An invisible character, such as a byte order mark or a no-break space. The plain space has its own message.
        if text and is_blank(text[index]) and text[index] != " ":
            kind = "a control character" if categories[index] == "Cc" else "an invisible character"
            raise ValueError(f"it {place} {kind} (U+{ord(text[index]):04X})")
    if "Cc" in categories:
        raise ValueError(f"it holds a control character (U+{ord(text[categories.index('Cc')]):04X})")
    if "Cs" in categories:
        raise ValueError("it is not UTF-8")
    if text != text.strip(" "):
        raise ValueError("it begins or ends with a space")
    # docker's --env-file keeps quotes in the value.
    if re.fullmatch("""(["']).*\\1""", text):
        raise ValueError("it is in quotes")
    return text


def conninfo(url: str) -> str:
    """Return the connection string `url` with our defaults for the parameters that it leaves out."""
    return make_conninfo("", **{**DEFAULTS, **conninfo_to_dict(url), **ALWAYS})


def conninfo_provider(url: str, auth: str, region: str) -> Callable[[], str]:
    """Return a function that gives the connection string for each new connection.

    Raises `ConfigError` when `auth` is `iam` and the URL does not suit tokens.
    """
    base = conninfo(url)
    if auth != "iam":
        return lambda: base
    parts = conninfo_to_dict(base)
    host, port, user = (str(parts.get(name) or "") for name in ("host", "port", "user"))
    if not host or not user or "," in host or host.startswith("/"):
        raise ConfigError("DATABASE_AUTH=iam wants one host and a user in the URL: a token is for one host")
    if parts.get("sslmode") != "verify-full":
        # A stolen token works for a quarter of an hour.
        raise ConfigError("DATABASE_AUTH=iam wants ?sslmode=verify-full&sslrootcert=<the RDS bundle> in the URL")
    rds_host = RDS_HOST.search(host)
    if rds_host and rds_host[1].lower() != region:
        raise ConfigError(
            f"DATABASE_AUTH=iam: by its name the host in the URL is in {rds_host[1].lower()}, and a token of {region} "
            "is not taken there: set AWS_DEFAULT_REGION to the region of both, the database and the user pool"
        )
    # botocore's signer takes a third of the time of boto3's client. Only this branch needs it.
    from botocore.session import Session

    session = Session()
    if session.get_credentials() is None:
        raise ConfigError("DATABASE_AUTH=iam: there are no AWS credentials: give the service a role")

    def with_token() -> str:
        return make_conninfo(base, password=generate_db_auth_token(session, host, port or "5432", user, region))

    return with_token


def generate_db_auth_token(session: "Session", host: str, port: str, user: str, region: str) -> str:
    """Return a token with which `user` logs in to RDS: a signed URL without its scheme."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("GET", f"https://{host}:{port}/", params={"Action": "connect", "DBUser": user})
    credentials = session.get_credentials().get_frozen_credentials()
    SigV4QueryAuth(credentials, "rds-db", region, expires=TOKEN_SECONDS).add_auth(request)
    return str(request.url).removeprefix("https://")
