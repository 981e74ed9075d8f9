"""Writes of reactions: likes and reposts of activities."""

from contextlib import suppress
from uuid import UUID

from lib.database import Db
from lib.exceptions import NotFound
from lib.pagination import JSONBytes
from services.get_or_create_user import User


def write_reaction(db: Db, query: str, user: User, activity_uuid: UUID) -> JSONBytes:
    """Create or delete a reaction by `query`, and return the activity after that. Raises `NotFound`."""
    with db.transaction() as transaction:
        transaction.query_row("activities/lock", activity_uuid=activity_uuid)
        # The statement returns no row when the reaction exists already, or does not exist.
        with suppress(NotFound):
            transaction.query_row(query, activity_uuid=activity_uuid, user_uuid=user.uuid)
        return transaction.query_object("activities/find", activity_uuid=activity_uuid, reader=user.sub)
