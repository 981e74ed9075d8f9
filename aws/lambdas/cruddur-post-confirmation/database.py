"""The Lambda's connection string: from its settings, with a password, an IAM token or a secret."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lib.command_errors import ConfigError, malformed, not_set
from lib.conninfo import CONNECTION_URL_RULE, check_connection_url, conninfo_provider

# The CA bundle that bin/lambda-build --ca puts into the zip.
CA = Path(__file__).with_name("rds-ca.pem")
EXAMPLE = "postgresql://cruddur_post_confirmation@database.example:5432/cruddur"
SECRET_SECONDS = 1


def conninfo(environ: Mapping[str, str]) -> str:
    """Return the connection string for a new connection. Raises `ConfigError`."""
    url = verified(environ.get("CONNECTION_URL", ""))
    auth = environ.get("DATABASE_AUTH") or "password"
    if auth not in {"password", "iam"}:
        raise ConfigError(malformed("DATABASE_AUTH", "it is none of the choices", "password or iam", "iam"))
    # Lambda's runtime sets this variable.
    region = environ["AWS_REGION"]
    arn = environ.get("DATABASE_SECRET_ARN")
    if arn and auth == "iam":
        raise ConfigError("DATABASE_AUTH=iam and DATABASE_SECRET_ARN are two ways to one end: leave one out")
    base = conninfo_provider(url, auth, region)()
    return make_conninfo(base, **secret(arn, region)) if arn else base


def verified(url: str) -> str:
    """Return `url` with TLS that verifies the server's name. Raises `ConfigError` for a URL with a weaker sslmode."""
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
    """Return user and password of a secret in Secrets Manager. Raises `ConfigError`.

    Each call reads the secret, which may have rotated:
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        value = json.loads(secrets_manager(region).get_secret_value(SecretId=arn)["SecretString"])
        return {"user": value["username"], "password": value["password"]}
    except (BotoCoreError, ClientError) as error:
        raise ConfigError(f"DATABASE_SECRET_ARN: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError("DATABASE_SECRET_ARN: the secret is no JSON object with username and password") from None


@cache
def secrets_manager(region: str) -> Any:
    """Return a client of Secrets Manager. Creating one takes longer than a call."""
    # Lambda's runtime provides botocore. Only secrets need this import.
    from botocore.config import Config
    from botocore.session import Session

    options = Config(connect_timeout=SECRET_SECONDS, read_timeout=SECRET_SECONDS, retries={"total_max_attempts": 1})
    return Session().create_client("secretsmanager", region_name=region, config=options)
