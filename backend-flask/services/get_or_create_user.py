"""Signing in: from a token to a person."""

from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from lib import spans
from lib.cognito import Cognito, Token
from lib.database import Db
from lib.exceptions import NotFound, UpstreamUnavailable
from services.new_user import candidate_rows


class User(NamedTuple):
    """Whoever is signed in."""

    uuid: UUID
    handle: str
    display_name: str


class GetOrCreateUser:
    """Find the person whose token it is; make their row where the trigger of Cognito has not."""

    def __init__(self, db: Db, cognito: Cognito) -> None:
        self.db = db
        self.cognito = cognito

    def run(self, *, token: Token) -> User:
        """The person. Raises `Unauthorized` when Cognito does not know them, `UpstreamUnavailable` when it is away."""
        with spans.step("sign-in"):
            try:
                return self._find(token)
            except NotFound:
                return self._make(token, self.cognito.attributes(token))

    def _find(self, token: Token) -> User:
        return User(*self.db.query_row("users/viewer", cognito_user_id=token.sub))

    def _make(self, token: Token, attributes: dict[str, str]) -> User:
        for row in candidate_rows(attributes):
            with suppress(NotFound):
                return self._create(token, **row)
            # Another request of theirs was first; or somebody has that handle.
            with suppress(NotFound):
                return self._find(token)
        raise UpstreamUnavailable("no free handle was found for a new person")

    def _create(self, token: Token, **person: str | None) -> User:
        return User(*self.db.query_row("users/create", cognito_user_id=token.sub, **person))
