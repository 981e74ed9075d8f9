"""The development key pair, which takes the place of a Cognito user pool's keys.

The service trusts the key pair by its settings, like any pool's. With a configured pool the pair is not used.
As a command, this module creates the pair and prints the settings in the syntax of env(1).
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc.jwk import KeySet, RSAKey

from lib.command_errors import CommandError
from lib.config import DEVELOPMENT_POOL_ID
from ops.command import data_dir, run

ALGORITHM = "RS256"
REGION = "eu-west-1"
CLIENT_ID = "development"
# A closed port: the service gets no answer about users who are not in the database.
CLOSED_PORT_URL = "http://127.0.0.1:9"
POOL_SETTINGS = ("AWS_COGNITO_USER_POOL_ID", "AWS_COGNITO_USER_POOL_CLIENT_ID", "AWS_COGNITO_JWKS_URL")


def key_path(name: str) -> Path:
    """Return the path of one of the key pair's files. Raises `CommandError`."""
    return data_dir().absolute() / "keys" / name


def private_key_path() -> Path:
    """Return the path of the private key, which signs tokens. Raises `CommandError`."""
    return key_path("private.json")


def jwks_path() -> Path:
    """Return the path of the public key set, named after the pool. Raises `CommandError`."""
    return key_path(f"{DEVELOPMENT_POOL_ID}.json")


def settings() -> dict[str, str]:
    """Return the settings with which the service trusts the key pair. Raises `CommandError`.

    The region is fixed, because the tokens' issuer contains it.
    """
    return {
        "AWS_DEFAULT_REGION": REGION,
        "AWS_COGNITO_USER_POOL_ID": DEVELOPMENT_POOL_ID,
        "AWS_COGNITO_USER_POOL_CLIENT_ID": CLIENT_ID,
        "AWS_COGNITO_JWKS_URL": jwks_path().as_uri(),
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": CLOSED_PORT_URL,
    }


def configured_pool_settings() -> list[str]:
    """Return the names of the environment's settings for another pool. Raises `CommandError`.

    Without such settings the development key pair is used.
    """
    development_settings = settings()
    return [name for name in POOL_SETTINGS if os.environ.get(name, "") not in {"", development_settings[name]}]


def load_or_create() -> RSAKey:
    """Return the key pair, and create it if it is missing. Concurrent calls create one. Raises `CommandError`."""
    try:
        if not keys_exist():
            create_keys()
        return RSAKey.import_key(json.loads(private_key_path().read_text()))
    except OSError as error:
        raise CommandError(
            f"the development keys can't be kept in {key_path('')} ({error.strerror}): "
            "give CRUDDUR_DATA_DIR a folder of your own"
        ) from error


def keys_exist() -> bool:
    """Return whether both files exist. They then belong together."""
    return private_key_path().exists() and jwks_path().exists()


def create_keys() -> None:
    """Create both files, unless another process did while this one waited for the lock. Raises `OSError`."""
    key_path("").mkdir(mode=0o700, parents=True, exist_ok=True)
    with key_path("making").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if keys_exist():
            return
        # Remove a key set without its private key, and write the key set last: then both files belong together.
        jwks_path().unlink(missing_ok=True)
        key = RSAKey.generate_key(2048, {"use": "sig", "alg": ALGORITHM}, auto_kid=True)
        write_private(private_key_path(), key.as_dict(private=True))
        write_private(jwks_path(), KeySet([key]).as_dict(private=False))


def write_private(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON into a file that only its owner may read, whole or not at all. Raises `OSError`."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(content))
    unfinished.rename(file)


def main() -> None:
    """Run the command. With a configured pool it creates and prints nothing."""
    if configured_pool_settings():
        return
    load_or_create()
    for name, value in settings().items():
        print(f"{name}={value}")


if __name__ == "__main__":
    run(main)
