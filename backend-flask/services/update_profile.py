"""Updating a profile."""

from collections.abc import Callable
from uuid import UUID

from lib import spans
from lib.database import Db
from lib.exceptions import NotFound, Unauthorized
from lib.idempotency import IdempotencyKey, ReplayedResponse, run_once
from lib.pagination import JSONBytes
from services.get_or_create_user import User
from services.validation import raise_if_any, validate_display_name

MAX_BIO_CHARS = 160


class UpdateProfile:
    """Change a user's display name and, if the request has one, the bio."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self,
        *,
        user: Callable[[], User],
        display_name: str | None,
        bio: str | None,
        has_bio: bool,
        idempotency_key: IdempotencyKey | None,
    ) -> JSONBytes | ReplayedResponse:
        """Return the user in short. Raises `ValidationError`, and `Unauthorized` when the user was deleted meanwhile.

        The call of `user` comes after the validation: invalid input costs no query.
        """
        too_long = len(bio or "") > MAX_BIO_CHARS
        raise_if_any(validate_display_name(display_name), ["bio_exceed_max_chars"] if too_long else [])
        current_user = user()

        def write(db: Db, _: UUID) -> JSONBytes:
            try:
                return db.query_object(
                    "users/update", user_uuid=current_user.uuid, display_name=display_name, bio=bio, has_bio=has_bio
                )
            except NotFound as error:
                raise Unauthorized from error

        with spans.use_case("update-profile"):
            return run_once(
                self.db,
                current_user.sub,
                idempotency_key,
                write=write,
                replay=lambda _: self.db.query_object("users/short", handle=current_user.handle),
            )
