"""Requests that may be repeated: the `Idempotency-Key` header.

As in draft-ietf-httpapi-idempotency-key-header: who repeats a request with its key gets the answer of the
one that succeeded, and nothing is done again. A failure is not kept: the key is free again.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from psycopg import OperationalError

from lib.database import Db
from lib.exceptions import NotFound, ValidationError, is_connection_error
from lib.pagination import JSONBytes


class IdempotencyKey(NamedTuple):
    """A request with a key, and the hash of what it asks for."""

    key: str
    fingerprint: bytes


class CreatedResource(NamedTuple):
    """What the request made: the uuid that it was given, and when."""

    uuid: UUID
    created_at: datetime


class ReplayedResponse(NamedTuple):
    """The answer of an earlier request with the same key."""

    json: JSONBytes


def run_once(
    db: Db,
    user_uuid: UUID,
    idempotency_key: IdempotencyKey | None,
    write: Callable[[Db, UUID], JSONBytes],
    replay: Callable[[CreatedResource], JSONBytes],
) -> JSONBytes | ReplayedResponse:
    """Return what `write` returns, having written with the uuid that it gets; or, when that has happened, `replay`.

    The key is taken in the transaction of the write; a request with the same key waits for its end. A
    transaction whose connection was lost is repeated once: its key tells whether it was committed.
    Raises `ValidationError` when the key came with another request.
    """
    resource_uuid = uuid4()
    if idempotency_key is None:
        return write(db, resource_uuid)

    def write_or_replay() -> JSONBytes | ReplayedResponse:
        with db.transaction() as together:
            if claim(together, user_uuid, idempotency_key, resource_uuid):
                return write(together, resource_uuid)
        return ReplayedResponse(replay(find(db, user_uuid, idempotency_key)))

    try:
        return write_or_replay()
    except OperationalError as error:
        if not is_connection_error(error):
            raise
    return write_or_replay()


def claim(db: Db, user_uuid: UUID, idempotency_key: IdempotencyKey, resource_uuid: UUID) -> bool:
    """Take the key. False when it is taken already."""
    try:
        db.query_row(
            "idempotency_keys/claim", user_uuid=user_uuid, resource_uuid=resource_uuid, **idempotency_key._asdict()
        )
    except NotFound:
        return False
    return True


def find(db: Db, user_uuid: UUID, idempotency_key: IdempotencyKey) -> CreatedResource:
    """What the request that took the key has made. Raises `ValidationError` when it was another request."""
    *resource, is_same = db.query_row("idempotency_keys/find", user_uuid=user_uuid, **idempotency_key._asdict())
    if not is_same:
        raise ValidationError("idempotency_key_reused")
    return CreatedResource(*resource)
