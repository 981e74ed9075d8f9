"""Relationships of a user to others: follows, mutes and blocks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from lib import spans
from lib.database import Db
from lib.exceptions import ValidationError
from lib.pagination import JSONBytes, Page
from services.get_or_create_user import User
from services.validation import raise_if_any

MAX_HANDLES = 100


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
            page = self.db.query_array("users/relationships", user_uuid=current_user.uuid, handles=distinct)
            span.set_attribute("app.result_length", page.length)
            return page


@contextmanager
def writing(db: Db, lock: str, user: User, handle: str, *, self_code: str) -> Iterator[tuple[Db, UUID]]:
    """Yield a transaction with the locks of the query `lock`, and the other user. Raises `NotFound`, `ValidationError`.

    `self_code` is the code for a handle of the user's own.
    """
    with db.transaction() as transaction:
        (other_uuid,) = transaction.query_row(lock, user_uuid=user.uuid, handle=handle)
        if other_uuid == user.uuid:
            raise ValidationError(self_code)
        yield transaction, other_uuid


def relationship(db: Db, user: User, handle: str) -> JSONBytes:
    """Return the relationship of a user to the user with the handle. Raises `NotFound`."""
    return db.query_object("users/relationships", user_uuid=user.uuid, handles=[handle])
