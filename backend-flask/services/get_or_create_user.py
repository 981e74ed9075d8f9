"""The user of an access token."""

from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from lib import spans
from lib.cognito import Cognito, Token
from lib.database import Db
from lib.exceptions import NotFound, UpstreamUnavailable
from services.new_user import candidate_rows


class User(NamedTuple):
    """The current user."""

    uuid: UUID
    handle: str
    display_name: str
    # The claim `sub` of the access token. Reads of activities find the reader by it.
    sub: str


class GetOrCreateUser:
    """Find the user of an access token. Create the user if Cognito's trigger has not done so."""

    def __init__(self, db: Db, cognito: Cognito) -> None:
        self.db = db
        self.cognito = cognito

    def run(self, *, token: Token) -> User:
        """Return the user. Raises `Unauthorized` when Cognito rejects the token, and `UpstreamUnavailable`."""
        with spans.step("sign-in"):
            try:
                return self._find(token)
            except NotFound:
                attributes = self.cognito.attributes(token)
                self.db.restart_deadlines()
                return self._create(token, attributes)

    def _find(self, token: Token) -> User:
        uuid, handle, display_name = self.db.query_row("users/viewer", cognito_user_id=token.sub)
        return User(uuid, handle, display_name, token.sub)

    def _create(self, token: Token, attributes: dict[str, str]) -> User:
        for row in candidate_rows(attributes):
            with suppress(NotFound):
                return self._insert(token, **row)
            # Another request of this user was faster, or another user has the handle.
            with suppress(NotFound):
                return self._find(token)
        raise UpstreamUnavailable("no free handle was found for a new person")

    def _insert(self, token: Token, **row: str | None) -> User:
        uuid, handle, display_name = self.db.query_row("users/create", cognito_user_id=token.sub, **row)
        return User(uuid, handle, display_name, token.sub)
