"""The development pool: a key pair of our own, where a Cognito user pool's would be.

The service trusts it by its settings, as it would any pool's; where a pool is configured, nothing here is used.
Run as a command, this makes the pair and prints the settings as env(1) takes them.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc.jwk import KeySet, RSAKey

from lib.command_errors import CommandError
from ops.command import data_dir, run

ALGORITHM = "RS256"
REGION = "eu-west-1"
POOL_ID = "eu-west-1_development"
CLIENT_ID = "development"
# Nobody listens there: nobody is asked about people who are not in the database.
CLOSED = "http://127.0.0.1:9"
POOL_SETTINGS = ("AWS_COGNITO_USER_POOL_ID", "AWS_COGNITO_USER_POOL_CLIENT_ID", "AWS_COGNITO_JWKS_URL")


def path(name: str) -> Path:
    """A file of the key pair's."""
    return data_dir().absolute() / "keys" / name


def private_file() -> Path:
    """The private key, which signs."""
    return path("private.json")


def public_file() -> Path:
    """The key set that the service reads, by the pool's name, so that it is no other pool's."""
    return path(f"{POOL_ID}.json")


def settings() -> dict[str, str]:
    """What the service is told, to trust the pair. The region is in the tokens' issuer, so it is no one's choice."""
    return {
        "AWS_DEFAULT_REGION": REGION,
        "AWS_COGNITO_USER_POOL_ID": POOL_ID,
        "AWS_COGNITO_USER_POOL_CLIENT_ID": CLIENT_ID,
        "AWS_COGNITO_JWKS_URL": public_file().as_uri(),
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": CLOSED,
    }


def configured() -> list[str]:
    """The settings in the environment that are of another pool: where there is one, the pair is not used."""
    ours = settings()
    return [name for name in POOL_SETTINGS if os.environ.get(name, "") not in {"", ours[name]}]


def make() -> RSAKey:
    """The pair, made where there is none, and once when several want it at once. Raises `CommandError`."""
    try:
        if not is_made():
            make_once()
        return RSAKey.import_key(json.loads(private_file().read_text()))
    except OSError as error:
        raise CommandError(
            f"the development keys can't be kept in {path('')} ({error.strerror}): "
            "give CRUDDUR_DATA_DIR a folder of your own"
        ) from error


def is_made() -> bool:
    """Whether both halves are there, which then fit together."""
    return private_file().exists() and public_file().exists()


def make_once() -> None:
    """Make both halves, if nobody else has while this waited for the lock."""
    path("").mkdir(mode=0o700, parents=True, exist_ok=True)
    with path("making").open("a") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        if is_made():
            return
        # First away with a half that has lost its other, and the public one last: both are there when they fit.
        public_file().unlink(missing_ok=True)
        key = RSAKey.generate_key(2048, {"use": "sig", "alg": ALGORITHM}, auto_kid=True)
        write(private_file(), key.as_dict(private=True))
        write(public_file(), KeySet([key]).as_dict(private=False))


def write(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file that only its owner may read, all of it or nothing."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(content))
    unfinished.rename(file)


def main() -> None:
    """Run the command. With a configured pool it creates and prints nothing."""
    if configured():
        return
    make()
    for name, value in settings().items():
        print(f"{name}={value}")


if __name__ == "__main__":
    run(main)
