"""Where the database is, by the Lambda's settings, and what it is opened with: a password, a token or a secret."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lib.command_errors import ConfigError, malformed, not_set
from lib.conninfo import CONNECTION_URL_RULE, check_connection_url, conninfo_provider

# What bin/lambda-build --ca puts into the zip.
CA = Path(__file__).with_name("rds-ca.pem")
EXAMPLE = "postgresql://cruddur_post_confirmation@database.example:5432/cruddur"
SECRET_SECONDS = 1


def conninfo(environ: Mapping[str, str]) -> str:
    """The connection string for a new connection. Raises `ConfigError`."""
    url = verified(environ.get("CONNECTION_URL", ""))
    auth = environ.get("DATABASE_AUTH") or "password"
    if auth not in {"password", "iam"}:
        raise ConfigError(malformed("DATABASE_AUTH", "it is none of the choices", "password or iam", "iam"))
    # Lambda's own setting.
    region = environ["AWS_REGION"]
    arn = environ.get("DATABASE_SECRET_ARN")
    if arn and auth == "iam":
        raise ConfigError("DATABASE_AUTH=iam and DATABASE_SECRET_ARN are two ways to one end: leave one out")
    usual = conninfo_provider(url, auth, region)()
    return make_conninfo(usual, **secret(arn, region)) if arn else usual


def verified(url: str) -> str:
    """The URL with TLS to the very host that it names. Raises `ConfigError` when it asks for less."""
    if not url:
        raise ConfigError(not_set("CONNECTION_URL", CONNECTION_URL_RULE, EXAMPLE))
    try:
        parts = conninfo_to_dict(check_connection_url(url))
    except ValueError as error:
        raise ConfigError(malformed("CONNECTION_URL", str(error), CONNECTION_URL_RULE, EXAMPLE)) from None
    if parts.get("sslmode", "verify-full") != "verify-full":
        raise ConfigError("CONNECTION_URL wants sslmode=verify-full, or none: it is the default here")
    root = str(parts.get("sslrootcert", CA))
    if root == str(CA) and not CA.exists():
        raise ConfigError(
            "there is no CA to verify the server by: build the zip with bin/lambda-build --ca <the RDS bundle>"
        )
    return make_conninfo(url, sslmode="verify-full", sslrootcert=root)


def secret(arn: str, region: str) -> dict[str, str]:
    """Return user and password from Secrets Manager, anew each time: they may have rotated. Raises `ConfigError`.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        said = json.loads(secrets_manager(region).get_secret_value(SecretId=arn)["SecretString"])
        return {"user": said["username"], "password": said["password"]}
    except (BotoCoreError, ClientError) as error:
        raise ConfigError(f"DATABASE_SECRET_ARN: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError("DATABASE_SECRET_ARN: the secret is no JSON object with username and password") from None


@cache
def secrets_manager(region: str) -> Any:
    """A client of Secrets Manager's. To make one takes longer than to ask it."""
    # Lambda's runtime brings it, and most ways to log in need none.
    from botocore.config import Config
    from botocore.session import Session

    once = Config(connect_timeout=SECRET_SECONDS, read_timeout=SECRET_SECONDS, retries={"total_max_attempts": 1})
    return Session().create_client("secretsmanager", region_name=region, config=once)
