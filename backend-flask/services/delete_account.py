"""Deleting an account."""

import json
import logging
import time
from datetime import timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from lib import spans
from lib.cognito import Cognito, Token
from lib.database import Db
from lib.exceptions import DATABASE_AWAY, Unauthorized, UpstreamUnavailable, ValidationError
from lib.pagination import JSONBytes
from services.get_or_create_user import User

logger = logging.getLogger("cruddur")

# The longest time since the sign-in with which a user may delete the account.
MAX_SIGN_IN_AGE_SECONDS = 300
# How often a withdrawal is tried: without it the deletion goes on.
WITHDRAWALS = 2
# The clocks of the service and of the user pool may differ by this.
CLOCK_TOLERANCE_SECONDS = 30


class DeleteAccount:
    """Delete the current user: first in the user pool, then here. The purge deletes the rows in batches."""

    def __init__(self, db: Db, cognito: Cognito, retention: timedelta) -> None:
        self.db = db
        self.cognito = cognito
        self.retention = retention
        # Another request about the same user must not take back this one's deletion.
        self.request = uuid4()

    def run(self, *, user: User, token: Token, handle: str | None) -> JSONBytes:
        """Return the user's uuid. Raises `ValidationError`, `Unauthorized` and `UpstreamUnavailable`.

        After an exception nothing was deleted, unless the database was lost for the withdrawal too. `handle` is the
        user's own, typed again.
        """
        if (handle or "").removeprefix("@").lower() != user.handle.lower():
            raise ValidationError("handle_mismatch")
        if not is_recent(token.auth_time):
            raise Unauthorized("reauthentication_required")
        with spans.use_case("delete-account"):
            sub_hash = sha256(user.sub.encode()).digest()
            self._request(user.sub, sub_hash)
            outcome = self._delete_in_pool(token, sub_hash)
            self._confirm(sub_hash, outcome)
        if outcome == "unknown":
            logger.warning("the user pool may not have deleted a user; see bin/db-deletions: %s", sub_hash.hex())
        return uuid_object(user.uuid)

    def _request(self, sub: str, sub_hash: bytes) -> None:
        try:
            (uuid,) = self.db.query_row(
                "deletions/request", cognito_user_id=sub, retention=self.retention, request=self.request
            )
        except DATABASE_AWAY:
            # The statement may have been committed.
            self._refuse(sub_hash)
            raise
        if uuid is None:
            # Another request has begun the deletion meanwhile.
            raise Unauthorized

    def _delete_in_pool(self, token: Token, sub_hash: bytes) -> str:
        try:
            return self.cognito.delete_user(token)
        except (Unauthorized, UpstreamUnavailable):
            if self._refuse(sub_hash):
                raise
        # The purge or an operator has confirmed the deletion meanwhile, so it goes on.
        return "unknown"

    def _refuse(self, sub_hash: bytes) -> bool:
        """Return whether the deletion is taken back, or may be: with the database away the purge deletes the user."""
        for _ in range(WITHDRAWALS):
            self.db.restart_deadlines()
            try:
                (is_refused,) = self.db.query_row("deletions/refuse", sub_hash=sub_hash, request=self.request)
            except DATABASE_AWAY:
                continue
            return bool(is_refused)
        logger.warning("a deletion could not be taken back: %s", sub_hash.hex())
        return True

    def _confirm(self, sub_hash: bytes, outcome: str) -> None:
        self.db.restart_deadlines()
        try:
            self.db.query_row("deletions/confirm", sub_hash=sub_hash, outcome=outcome)
        except DATABASE_AWAY as error:
            # The request is stored: the purge confirms it a minute later.
            logger.warning("a deletion could not be confirmed: %s %s", type(error).__name__, sub_hash.hex())


def is_recent(auth_time: float | None) -> bool:
    """Return whether the sign-in was a short time ago, by whole seconds as the claim has them."""
    if auth_time is None:
        return False
    return -CLOCK_TOLERANCE_SECONDS <= int(time.time()) - auth_time <= MAX_SIGN_IN_AGE_SECONDS


def uuid_object(uuid: UUID) -> JSONBytes:
    """Return a JSON object of a uuid. Postgres builds no response here, because it may be away."""
    return JSONBytes(json.dumps({"uuid": str(uuid)}).encode())
