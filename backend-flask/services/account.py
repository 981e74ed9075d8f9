"""The current user's account, and the export of all data of the user."""

from datetime import timedelta
from threading import BoundedSemaphore

from lib import spans
from lib.cognito import Cognito, Token
from lib.database import Db
from lib.pagination import JSONBytes
from lib.turns import take_turn
from services.get_or_create_user import User

# The rows of each of an export's nine lists. Postgres takes 1.2 s for 100,000 rows, and a statement has 1.8 s.
MAX_ROWS = 10_000


class Account:
    """Read the current user's account, with the e-mail address that Cognito has."""

    def __init__(self, db: Db, cognito: Cognito) -> None:
        self.db = db
        self.cognito = cognito

    def run(self, *, user: User, token: Token) -> JSONBytes:
        """Return the account. Raises `Unauthorized` when Cognito rejects the token, and `UpstreamUnavailable`."""
        with spans.use_case("account"):
            email = self.cognito.email(token)
            self.db.restart_deadlines()
            return self.db.query_object("users/account", user_uuid=user.uuid, email=email)


class AccountExport:
    """Read all data of the current user."""

    def __init__(self, db: Db, cognito: Cognito, retention: timedelta, turns: BoundedSemaphore) -> None:
        self.db = db
        self.cognito = cognito
        self.retention = retention
        self.turns = turns

    def run(self, *, user: User, token: Token) -> JSONBytes:
        """Return one object.

        Raises `Unauthorized` when Cognito rejects the token, `UpstreamUnavailable`, and during another export
        `Overloaded`.
        """
        with take_turn(self.turns), spans.use_case("account-export"):
            email = self.cognito.email(token)
            self.db.restart_deadlines()
            return self.db.query_object(
                "users/export",
                user_uuid=user.uuid,
                email=email,
                limit=MAX_ROWS,
                retention=self.retention,
            )
