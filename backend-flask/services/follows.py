"""Follows of users."""

from contextlib import suppress
from uuid import UUID

from lib import spans
from lib.database import Db
from lib.exceptions import NotFound, ValidationError
from lib.pagination import JSONBytes, Page, PageRequest
from lib.queries import PagedQuery, ParentQuery
from services.get_or_create_user import User
from services.relationships import relationship, writing

FOLLOWERS = PagedQuery("follows/followers", parent=ParentQuery("users/short"), has_items=True)
FOLLOWING = PagedQuery("follows/following", parent=ParentQuery("users/short"), has_items=True)
MAX_FOLLOWS = 5_000


class FollowUser:
    """Follow a user."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, handle: str) -> JSONBytes:
        """Return the relationship, also when `user` followed before.

        Raises `ValidationError`, and `NotFound` also when one of the two blocks the other.
        """
        with (
            spans.use_case("follow-user"),
            writing(self.db, "users/lock", user, handle, self_code="follow_self") as (transaction, followed_uuid),
        ):
            create_follow(transaction, user.uuid, followed_uuid)
            return relationship(transaction, user, handle)


class UnfollowUser:
    """Remove a follow of a user."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, handle: str) -> JSONBytes:
        """Return the relationship, also when `user` did not follow. Raises `NotFound`, `ValidationError`."""
        with (
            spans.use_case("unfollow-user"),
            writing(self.db, "users/lock", user, handle, self_code="follow_self") as (transaction, followed_uuid),
        ):
            # The statement returns no row when the follow does not exist.
            with suppress(NotFound):
                transaction.query_row("follows/delete", user_uuid=user.uuid, followed_uuid=followed_uuid)
            return relationship(transaction, user, handle)


class UserFollowers:
    """Read the followers of a user."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, handle: str, page_request: PageRequest) -> Page:
        """Return users, the newest follow first. Raises `NotFound`."""
        with spans.use_case("user-followers") as span:
            page = self.db.query_page(FOLLOWERS, page_request, handle=handle)
            span.set_attribute("app.result_length", page.length)
            return page


class UserFollowing:
    """Read the users whom a user follows."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, handle: str, page_request: PageRequest) -> Page:
        """Return users, the newest follow first. Raises `NotFound`."""
        with spans.use_case("user-following") as span:
            page = self.db.query_page(FOLLOWING, page_request, handle=handle)
            span.set_attribute("app.result_length", page.length)
            return page


def create_follow(db: Db, user_uuid: UUID, followed_uuid: UUID) -> None:
    """Create a follow, if it does not exist. Raises `NotFound` across a block, and `ValidationError` at the limit."""
    pair = {"user_uuid": user_uuid, "followed_uuid": followed_uuid}
    with suppress(NotFound):
        db.query_row("follows/create", **pair, max_follows=MAX_FOLLOWS)
        return
    db.query_row("users/reachable", user_uuid=user_uuid, other_user_uuid=followed_uuid)
    try:
        db.query_row("follows/find", **pair)
    except NotFound:
        raise ValidationError("follows_exceed_max") from None
