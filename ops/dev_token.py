"""Print an access token for a user in the database, signed by the development keys and valid for a day."""

import time
from argparse import ArgumentParser
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import RSAKey

from lib.command_errors import CommandError
from lib.config import DEVELOPMENT_POOL_ID, UserPool
from ops import dev_keys
from ops.command import Database, open_database, run

LIFETIME_SECONDS = 24 * 60 * 60
# The handles are compared as in db/sql/users/short.sql.
FIND_COGNITO_USER_ID = """
    SELECT users.cognito_user_id
    FROM users
    WHERE lower(users.handle COLLATE "C") = lower(%(handle)s COLLATE "C") AND users.cognito_user_id IS NOT NULL
"""


def cognito_user_id(database: Database, handle: str) -> str:
    """Return the Cognito id of the user with this handle. Raises `CommandError`."""
    # A handle is ASCII, and an argument may hold bytes that are not valid text.
    ascii_handle = handle.encode("ascii", "replace").decode()
    with database.connect() as connection:
        row = connection.execute(FIND_COGNITO_USER_ID, {"handle": ascii_handle}).fetchone()
    if row is None:
        raise CommandError(f"no user has the handle {handle}: bin/db-seed adds andrewbrown and a few others")
    return str(row[0])


def create_access_token(key: RSAKey, sub: str) -> str:
    """Return an access token for the user `sub`, with the claims of a Cognito token."""
    pool = UserPool.of(dev_keys.REGION, DEVELOPMENT_POOL_ID, dev_keys.CLIENT_ID, None, None)
    now = int(time.time())
    claims = {
        "sub": sub,
        "iss": pool.issuer,
        "client_id": pool.client_id,
        "token_use": "access",
        "scope": "aws.cognito.signin.user.admin",
        "auth_time": now,
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
        "jti": str(uuid4()),
        "username": sub,
    }
    return jwt.encode({"alg": dev_keys.ALGORITHM, "kid": key.kid}, claims, key)


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="bin/dev-token", description=__doc__)
    parser.add_argument("handle", metavar="HANDLE", help="the user's handle, such as andrewbrown")
    args = parser.parse_args()
    pool_settings = dev_keys.configured_pool_settings()
    if pool_settings:
        raise CommandError(
            f"a Cognito pool is configured, and only Cognito issues its tokens: unset {', '.join(pool_settings)} "
            "to use the development keys"
        )
    with open_database() as db:
        sub = cognito_user_id(db, args.handle)
    print(create_access_token(dev_keys.load_or_create(), sub))


if __name__ == "__main__":
    run(main)
