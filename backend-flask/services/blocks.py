"""Blocks of users."""

from contextlib import suppress

from lib import spans
from lib.database import Db
from lib.exceptions import NotFound, ValidationError
from lib.pagination import JSONBytes, Page, PageRequest
from lib.queries import PagedQuery
from services.get_or_create_user import User
from services.relationships import relationship, writing

BLOCKED = PagedQuery("blocks/index", has_items=True)
MAX_BLOCKS = 5_000


class BlockUser:
    """Block a user. This ends follows between the two users, in both directions."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, handle: str) -> JSONBytes:
        """Return the relationship, also when `user` blocked before. Raises `NotFound`, `ValidationError`."""
        with (
            spans.use_case("block-user"),
            writing(self.db, "blocks/lock", user, handle, self_code="block_self") as (transaction, blocked_uuid),
        ):
            try:
                transaction.query_row(
                    "blocks/create", user_uuid=user.uuid, blocked_uuid=blocked_uuid, max_blocks=MAX_BLOCKS
                )
            except NotFound:
                raise ValidationError("blocks_exceed_max") from None
            # The statement returns no row when neither follows the other.
            with suppress(NotFound):
                transaction.query_row("follows/delete_pair", user_uuid=user.uuid, other_user_uuid=blocked_uuid)
            return relationship(transaction, user, handle)


class UnblockUser:
    """Remove a block of a user."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, handle: str) -> JSONBytes:
        """Return the relationship, also when `user` did not block. Raises `NotFound`, `ValidationError`."""
        with (
            spans.use_case("unblock-user"),
            writing(self.db, "blocks/lock", user, handle, self_code="block_self") as (transaction, blocked_uuid),
        ):
            # The statement returns no row when the block does not exist.
            with suppress(NotFound):
                transaction.query_row("blocks/delete", user_uuid=user.uuid, blocked_uuid=blocked_uuid)
            return relationship(transaction, user, handle)


class BlockedUsers:
    """Read the users whom the current user blocks."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, page_request: PageRequest) -> Page:
        """Return users, the newest block first."""
        with spans.use_case("blocked-users") as span:
            page = self.db.query_page(BLOCKED, page_request, user_uuid=user.uuid)
            span.set_attribute("app.result_length", page.length)
            return page
