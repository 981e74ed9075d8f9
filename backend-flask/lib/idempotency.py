"""Idempotent requests: the `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header).

A request repeated with its key gets the response of the first one that succeeded, and changes nothing again.
A failed request does not keep its key.
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
    """The key of a request, and the fingerprint of its path and body (SHA-256)."""

    key: str
    fingerprint: bytes


class CreatedResource(NamedTuple):
    """The resource that a request created: its uuid, and its creation time."""

    uuid: UUID
    created_at: datetime


class ReplayedResponse(NamedTuple):
    """The response to an earlier request with the same key."""

    json: JSONBytes


def run_once(
    db: Db,
    reader: str,
    idempotency_key: IdempotencyKey | None,
    write: Callable[[Db, UUID], JSONBytes],
    replay: Callable[[CreatedResource], JSONBytes],
) -> JSONBytes | ReplayedResponse:
    """Return the result of `write` with a new uuid; return `replay` of the resource when the key was used before.

    The write's transaction claims the key; another request with the same key waits for its end. A transaction
    whose connection was lost is repeated once: the key shows whether the first attempt was committed.
    `reader` is the claim `sub` of the current user. Raises `ValidationError` when the key belongs to another request,
    and `NotFound` with a key of a user without a row.
    """
    resource_uuid = uuid4()
    if idempotency_key is None:
        return write(db, resource_uuid)

    def write_or_replay() -> JSONBytes | ReplayedResponse:
        with db.transaction() as transaction:
            if claim(transaction, reader, idempotency_key, resource_uuid):
                return write(transaction, resource_uuid)
        return ReplayedResponse(replay(find(db, reader, idempotency_key)))

    try:
        return write_or_replay()
    except OperationalError as error:
        if not is_connection_error(error):
            raise
    return write_or_replay()


def claim(db: Db, reader: str, idempotency_key: IdempotencyKey, resource_uuid: UUID) -> bool:
    """Claim the key. Return False when another request has it already, or the user has no row."""
    try:
        db.query_row("idempotency_keys/claim", reader=reader, resource_uuid=resource_uuid, **idempotency_key._asdict())
    except NotFound:
        return False
    return True


def find(db: Db, reader: str, idempotency_key: IdempotencyKey) -> CreatedResource:
    """Return the resource of the request that has the key. Raises `ValidationError` when that request differs."""
    *resource, is_same = db.query_row("idempotency_keys/find", reader=reader, **idempotency_key._asdict())
    if not is_same:
        raise ValidationError("idempotency_key_reused")
    return CreatedResource(*resource)
