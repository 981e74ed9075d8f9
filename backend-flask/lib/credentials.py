"""What a new connection is opened with: asked for each time, so that what expires is fresh.

With DATABASE_AUTH=iam that is a token of RDS's for a quarter of an hour, in place of a password:
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lib.failure import Failure

if TYPE_CHECKING:
    from botocore.session import Session

TOKEN_SECONDS = 900
# What a connection string leaves open. libpq alone would wait 130 s for a server that
# swallows packets, and for hours on a connection whose other end is gone.
DEFAULTS = {
    "fallback_application_name": "cruddur",
    "connect_timeout": "2",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
}


def conninfo(url: str) -> str:
    """The connection string `url` with our defaults for what it leaves open."""
    return make_conninfo("", **{**DEFAULTS, **conninfo_to_dict(url)})


def conninfo_source(url: str, auth: str, region: str) -> Callable[[], str]:
    """What gives the connection string for each new connection. Raises `Failure` when the URL is not one for tokens."""
    usual = conninfo(url)
    if auth != "iam":
        return lambda: usual
    parts = conninfo_to_dict(usual)
    host, port, user = (str(parts.get(name) or "") for name in ("host", "port", "user"))
    if not host or not user or "," in host or host.startswith("/"):
        raise Failure("DATABASE_AUTH=iam wants one host and a user in the URL: a token is for one host")
    if parts.get("sslmode") != "verify-full":
        # Whoever gets hold of a token may use it for a quarter of an hour.
        raise Failure("DATABASE_AUTH=iam wants ?sslmode=verify-full&sslrootcert=<the RDS bundle> in the URL")
    # A third of the time of boto3's client, and loaded for this alone.
    from botocore.session import Session

    session = Session()
    if session.get_credentials() is None:
        raise Failure("DATABASE_AUTH=iam: there are no AWS credentials: give the service a role")

    def with_token() -> str:
        return make_conninfo(usual, password=token(session, host, port or "5432", user, region))

    return with_token


def token(session: "Session", host: str, port: str, user: str, region: str) -> str:
    """A token by which RDS lets `user` in: a signed URL without its scheme."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest("GET", f"https://{host}:{port}/", params={"Action": "connect", "DBUser": user})
    credentials = session.get_credentials().get_frozen_credentials()
    SigV4QueryAuth(credentials, "rds-db", region, expires=TOKEN_SECONDS).add_auth(request)
    return str(request.url).removeprefix("https://")
