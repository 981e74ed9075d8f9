"""Signing in: from a token to a person."""

import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from lib.cognito import Cognito, Token
from lib.db import Db
from lib.errors import NotFound, Unavailable
from lib.tracing import span
from services.rules import MAX_DISPLAY_NAME_CHARS

MAX_HANDLE_CHARS = 30
# Of 65,536 endings to one handle, so that as good as never all are taken.
HANDLES_TRIED = 10


class User(NamedTuple):
    """Whoever is signed in."""

    uuid: UUID
    handle: str


class SignIn:
    """Find the person whose token it is; make their row where the trigger of Cognito has not."""

    def __init__(self, db: Db, cognito: Cognito) -> None:
        self.db = db
        self.cognito = cognito

    def run(self, *, token: Token) -> User:
        """The person. Raises `Unauthorized` when Cognito does not know them, `Unavailable` when it is away."""
        with span("sign-in"):
            try:
                return self._find(token)
            except NotFound:
                return self._make(token, self.cognito.attributes(token))

    def _find(self, token: Token) -> User:
        return User(*self.db.query_row("users/viewer", cognito_user_id=token.sub))

    def _make(self, token: Token, attributes: dict[str, str]) -> User:
        name = storable(attributes.get("name", "")).strip()[:MAX_DISPLAY_NAME_CHARS]
        email = storable(attributes.get("email", "")) or None
        for handle in handles(attributes.get("preferred_username", "")):
            with suppress(NotFound):
                return self._create(token, handle=handle, display_name=name or handle, email=email)
            # Another request of theirs was first; or somebody has that handle.
            with suppress(NotFound):
                return self._find(token)
        raise Unavailable("no free handle was found for a new person")

    def _create(self, token: Token, **person: str | None) -> User:
        return User(*self.db.query_row("users/create", cognito_user_id=token.sub, **person))


def storable(text: str) -> str:
    """The text without what Postgres can't hold: U+0000, and halves of surrogate pairs."""
    return text.encode(errors="ignore").decode().replace("\0", "")


def handles(wanted: str) -> Iterator[str]:
    """The handles for somebody who wants to be called `wanted`, the best first."""
    valid = re.sub("[^A-Za-z0-9_]", "", wanted)
    if valid == wanted and 0 < len(wanted) <= MAX_HANDLE_CHARS:
        yield wanted
    for _ in range(HANDLES_TRIED):
        ending = "_" + secrets.token_hex(2)
        yield (valid or "user")[: MAX_HANDLE_CHARS - len(ending)] + ending
