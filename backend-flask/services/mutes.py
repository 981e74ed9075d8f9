"""Mutes of users."""

from collections.abc import Callable
from contextlib import suppress

from lib import spans
from lib.database import Db
from lib.exceptions import NotFound, ValidationError
from lib.pagination import JSONBytes, Page, PageRequest
from lib.queries import PagedQuery
from services.get_or_create_user import User
from services.relationships import relationship, writing
from services.validation import TTL, raise_if_any, validate_optional_ttl

MUTED = PagedQuery("mutes/index", has_items=True)
MAX_MUTES = 5_000


class MuteUser:
    """Mute a user for a time, or until the user removes the mute."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: Callable[[], User], handle: str, ttl: str | None) -> JSONBytes:
        """Return the relationship. A repeated mute gets the new ttl. Raises `NotFound`, `ValidationError`.

        The call of `user` comes after the validation: invalid input costs no query.
        """
        raise_if_any(validate_optional_ttl(ttl))
        muter = user()
        with (
            spans.use_case("mute-user"),
            writing(self.db, "users/lock", muter, handle, self_code="mute_self") as (transaction, muted_uuid),
        ):
            try:
                transaction.query_row(
                    "mutes/create",
                    user_uuid=muter.uuid,
                    muted_uuid=muted_uuid,
                    ttl=TTL.get(ttl or ""),
                    max_mutes=MAX_MUTES,
                )
            except NotFound:
                raise ValidationError("mutes_exceed_max") from None
            return relationship(transaction, muter, handle)


class UnmuteUser:
    """Remove a mute of a user."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, handle: str) -> JSONBytes:
        """Return the relationship, also when `user` did not mute. Raises `NotFound`, `ValidationError`."""
        with (
            spans.use_case("unmute-user"),
            writing(self.db, "users/lock", user, handle, self_code="mute_self") as (transaction, muted_uuid),
        ):
            # The statement returns no row when the mute does not exist.
            with suppress(NotFound):
                transaction.query_row("mutes/delete", user_uuid=user.uuid, muted_uuid=muted_uuid)
            return relationship(transaction, user, handle)


class MutedUsers:
    """Read the users whom the current user mutes."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, page_request: PageRequest) -> Page:
        """Return users, the newest mute first."""
        with spans.use_case("muted-users") as span:
            page = self.db.query_page(MUTED, page_request, user_uuid=user.uuid)
            span.set_attribute("app.result_length", page.length)
            return page
