"""Writes of reactions: likes and reposts of activities."""

from contextlib import suppress
from uuid import UUID

from lib.database import Db
from lib.exceptions import NotFound
from lib.pagination import JSONBytes


def write_reaction(db: Db, query: str, reader: str, activity_uuid: UUID) -> JSONBytes:
    """Create or delete a reaction by `query`, and return the activity after that.

    `reader` is the claim `sub` of the current user. Raises `NotFound`, also when the user has no row.
    """
    with db.transaction() as transaction:
        (user_uuid,) = transaction.query_row("activities/lock", activity_uuid=activity_uuid, reader=reader)
        # The statement returns no row when the reaction exists already, or does not exist.
        with suppress(NotFound):
            transaction.query_row(query, activity_uuid=activity_uuid, user_uuid=user_uuid)
        return transaction.query_object("activities/find", activity_uuid=activity_uuid, reader=reader)
