"""Follows of users."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from lib import spans
from lib.database import Db
from lib.exceptions import NotFound, ValidationError
from lib.pagination import JSONBytes, Page, PageRequest
from lib.queries import PagedQuery, ParentQuery
from services.get_or_create_user import User
from services.validation import raise_if_any

FOLLOWERS = PagedQuery("follows/followers", parent=ParentQuery("users/short"), has_items=True)
FOLLOWING = PagedQuery("follows/following", parent=ParentQuery("users/short"), has_items=True)
MAX_FOLLOWS = 5_000
MAX_HANDLES = 100


class FollowUser:
    """Follow a user."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, handle: str) -> JSONBytes:
        """Return the relationship, also when `user` followed before. Raises `NotFound`, `ValidationError`."""
        with spans.use_case("follow-user"), locked(self.db, user, handle) as (transaction, followed_uuid):
            create_follow(transaction, user.uuid, followed_uuid)
            return relationship(transaction, user, handle)


class UnfollowUser:
    """Remove a follow of a user."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, handle: str) -> JSONBytes:
        """Return the relationship, also when `user` did not follow. Raises `NotFound`, `ValidationError`."""
        with spans.use_case("unfollow-user"), locked(self.db, user, handle) as (transaction, followed_uuid):
            # The statement returns no row when the follow does not exist.
            with suppress(NotFound):
                transaction.query_row("follows/delete", follower_uuid=user.uuid, followed_uuid=followed_uuid)
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


class Relationships:
    """Read the relationships of a user to others."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: Callable[[], User], handles: str) -> Page:
        """Return a relationship for each user of `handles`, separated by commas, in that order.

        Raises `ValidationError`. The call of `user` comes after the validation: invalid input costs no query.
        """
        requested = [handle for handle in handles.split(",") if handle]
        raise_if_any(
            [] if requested else ["handles_blank"], ["handles_exceed_max"] if len(requested) > MAX_HANDLES else []
        )
        current_user = user()
        # A handle is ASCII, and the statement finds it without regard to case.
        distinct = list({handle.lower(): handle for handle in requested if handle.isascii()})
        with spans.use_case("relationships") as span:
            page = self.db.query_array("follows/relationships", user_uuid=current_user.uuid, handles=distinct)
            span.set_attribute("app.result_length", page.length)
            return page


@contextmanager
def locked(db: Db, follower: User, handle: str) -> Iterator[tuple[Db, UUID]]:
    """Yield a transaction that has locked the follower, and the followed user. Raises `NotFound`, `ValidationError`."""
    with db.transaction() as transaction:
        (followed_uuid,) = transaction.query_row("follows/lock", follower_uuid=follower.uuid, handle=handle)
        if followed_uuid == follower.uuid:
            raise ValidationError("follow_self")
        yield transaction, followed_uuid


def create_follow(db: Db, follower_uuid: UUID, followed_uuid: UUID) -> None:
    """Create a follow, if it does not exist. Raises `ValidationError` when the follower has reached the limit."""
    pair = {"follower_uuid": follower_uuid, "followed_uuid": followed_uuid}
    with suppress(NotFound):
        db.query_row("follows/create", **pair, max_follows=MAX_FOLLOWS)
        return
    try:
        db.query_row("follows/find", **pair)
    except NotFound:
        raise ValidationError("follows_exceed_max") from None


def relationship(db: Db, user: User, handle: str) -> JSONBytes:
    """Return the relationship of a user to the user with the handle. Raises `NotFound`."""
    return db.query_object("follows/relationships", user_uuid=user.uuid, handles=[handle])
