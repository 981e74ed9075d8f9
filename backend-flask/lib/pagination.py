"""Keyset pagination: page requests, pages, and the cursors between them."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple, Self
from uuid import UUID

from lib.exceptions import BadRequest

# JSON in UTF-8 that Postgres built. The service sends it to the client unchanged.
JSONBytes = bytes

# A timestamptz as Postgres sends it, microseconds since its epoch, and a uuid.
KEYSET = struct.Struct(">q16s")
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Keyset(NamedTuple):
    """A position in a feed: a row's sort key, so that the position stays valid after the row's deletion."""

    created_at: datetime
    uuid: UUID

    @property
    def packed(self) -> bytes:
        """Return the keyset in the form that statements return: 24 bytes."""
        return KEYSET.pack((self.created_at - EPOCH) // timedelta(microseconds=1), self.uuid.bytes)


NEWEST = Keyset(datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
OLDEST = Keyset(datetime.min.replace(tzinfo=UTC), UUID(int=0))


class Order(Enum):
    """A scan order: the statement's comparison, its direction and its start; and the order of rows in the page."""

    NEWEST_FIRST = ("<", "DESC", NEWEST, "DESC")
    OLDEST_FIRST = (">", "ASC", OLDEST, "ASC")
    # The order of a conversation: the first page is its end, and the last row of each page is the newest.
    NEWEST_LAST = ("<", "DESC", NEWEST, "ASC")

    def __init__(self, comparison: str, direction: str, start: Keyset, row_order: str) -> None:
        self.comparison = comparison
        self.direction = direction
        self.start = start
        self.row_order = row_order

    @property
    def reversed(self) -> "Order":
        """Return the opposite order."""
        return Order.NEWEST_FIRST if self is Order.OLDEST_FIRST else Order.OLDEST_FIRST


class Cursor(NamedTuple):
    """A reference to the page after a keyset or, if `backwards`, to the page before it."""

    backwards: bool
    keyset: bytes

    def __str__(self) -> str:
        """Return the cursor as clients send it: 34 opaque characters that need no quoting in a URL."""
        return urlsafe_b64encode(bytes([self.backwards]) + self.keyset).rstrip(b"=").decode()

    @property
    def position(self) -> Keyset:
        """Return the keyset's values. Raises `OverflowError` for a time outside of Python's range."""
        microseconds, uuid = KEYSET.unpack(self.keyset)
        return Keyset(EPOCH + timedelta(microseconds=microseconds), UUID(bytes=uuid))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor that `text` spells. Raises `BadRequest` for any other text."""
        try:
            packed = urlsafe_b64decode(text.encode("ascii") + b"==")
            cursor = cls(packed[:1] == b"\1", packed[1:])
            _ = cursor.position
        except (ValueError, OverflowError, struct.error) as error:
            raise BadRequest("cursor_invalid") from error
        # Base64 has several spellings for the same bytes. A cursor has one.
        if str(cursor) != text:
            raise BadRequest("cursor_invalid")
        return cursor


class PageRequest(NamedTuple):
    """A request for a page: up to `limit` rows, from `cursor` on or from the feed's start."""

    limit: int
    cursor: Cursor | None = None


FIRST_PAGE = PageRequest(20)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a feed: JSON that Postgres built, the number of its rows, and the cursors of its neighbours."""

    json: JSONBytes
    length: int
    next: Cursor | None = None
    prev: Cursor | None = None
    # Seconds until the first of its rows expires, counted from before the query. None without such a row.
    expires_in: float | None = None
