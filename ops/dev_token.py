"""Print an access token of the development keys, good for a day, for somebody in the database."""

import time
from argparse import ArgumentParser
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import RSAKey

from lib.command_errors import CommandError
from lib.config import UserPool
from ops import dev_keys
from ops.command import Database, open_database, run

LIFETIME_SECONDS = 24 * 60 * 60
# As db/sql/users/short.sql finds a person.
FIND = """
    SELECT users.cognito_user_id
    FROM users
    WHERE lower(users.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
"""


def find(database: Database, handle: str) -> str:
    """Who has the handle, as Cognito knows them. Raises `CommandError`."""
    # A command line may hold bytes that are no text; a handle is ASCII.
    sought = handle.encode("ascii", "replace").decode()
    with database.connect() as connection:
        found = connection.execute(FIND, {"handle": sought}).fetchone()
    if found is None:
        raise CommandError(f"nobody has the handle {handle}: bin/db-seed brings andrewbrown and a few others")
    return str(found[0])


def token(key: RSAKey, sub: str) -> str:
    """An access token for `sub`, as Cognito makes them."""
    pool = UserPool.of(dev_keys.REGION, dev_keys.POOL_ID, dev_keys.CLIENT_ID, None, None)
    now = int(time.time())
    claims = {
        "sub": sub,
        "iss": pool.issuer,
        "client_id": pool.client_id,
        "token_use": "access",
        "scope": "aws.cognito.signin.user.admin",
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
        "jti": str(uuid4()),
        "username": sub,
    }
    return jwt.encode({"alg": dev_keys.ALGORITHM, "kid": key.kid}, claims, key)


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="bin/dev-token", description=__doc__)
    parser.add_argument("handle", metavar="HANDLE", help="whose token it is, such as andrewbrown")
    args = parser.parse_args()
    others = dev_keys.configured()
    if others:
        raise CommandError(
            f"a Cognito pool is configured, whose tokens Cognito alone makes: unset {', '.join(others)} "
            "to use the development keys"
        )
    with open_database() as db:
        sub = find(db, args.handle)
    print(token(dev_keys.make(), sub))


if __name__ == "__main__":
    run(main)
