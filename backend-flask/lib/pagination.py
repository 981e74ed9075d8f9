"""Places in a feed: where a page begins, and the cursors that lead to its neighbours."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple, Self
from uuid import UUID

from lib.exceptions import BadRequest

# What Postgres made of rows, in UTF-8, as it goes to the client.
JSONBytes = bytes

# A timestamptz as Postgres sends it, microseconds since its epoch, and a uuid.
KEYSET = struct.Struct(">q16s")
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Keyset(NamedTuple):
    """A place in a feed, given by a row's order and not by the row, so that it outlives it."""

    created_at: datetime
    uuid: UUID

    @property
    def packed(self) -> bytes:
        """It as statements tell it: 24 bytes."""
        return KEYSET.pack((self.created_at - EPOCH) // timedelta(microseconds=1), self.uuid.bytes)


NEWEST = Keyset(datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
OLDEST = Keyset(datetime.min.replace(tzinfo=UTC), UUID(int=0))


class Order(Enum):
    """Which way a statement walks: its comparison, its direction, where it starts; and how a page is shown."""

    NEWEST_FIRST = ("<", "DESC", NEWEST, "DESC")
    OLDEST_FIRST = (">", "ASC", OLDEST, "ASC")
    # As a conversation is read: the first page is its end, and each page's newest row the last.
    NEWEST_LAST = ("<", "DESC", NEWEST, "ASC")

    def __init__(self, comparison: str, direction: str, start: Keyset, shown: str) -> None:
        self.comparison = comparison
        self.direction = direction
        self.start = start
        self.shown = shown

    @property
    def reversed(self) -> "Order":
        """The other way."""
        return Order.NEWEST_FIRST if self is Order.OLDEST_FIRST else Order.OLDEST_FIRST


class Cursor(NamedTuple):
    """The page next to a place: the one after it, or (`backwards`) the one before."""

    backwards: bool
    keyset: bytes

    def __str__(self) -> str:
        """The cursor as clients carry it: 34 opaque characters that need no quoting in a URL."""
        return urlsafe_b64encode(bytes([self.backwards]) + self.keyset).rstrip(b"=").decode()

    @property
    def position(self) -> Keyset:
        """Where that place is. Raises `OverflowError` when it is none."""
        microseconds, uuid = KEYSET.unpack(self.keyset)
        return Keyset(EPOCH + timedelta(microseconds=microseconds), UUID(bytes=uuid))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The cursor that reads `text`, of a position that there is. Raises `BadRequest`."""
        try:
            packed = urlsafe_b64decode(text.encode("ascii") + b"==")
            cursor = cls(packed[:1] == b"\1", packed[1:])
            _ = cursor.position
        except (ValueError, OverflowError, struct.error) as error:
            raise BadRequest("cursor_invalid") from error
        # Base64 has several spellings for the same bytes; ours is one.
        if str(cursor) != text:
            raise BadRequest("cursor_invalid")
        return cursor


class PageRequest(NamedTuple):
    """What a reader asked for: up to `limit` rows, from `cursor` on or from the start."""

    limit: int
    cursor: Cursor | None = None


FIRST_PAGE = PageRequest(20)


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it is answered: JSON that Postgres built, how many rows it shows, its neighbours."""

    json: JSONBytes
    length: int
    next: Cursor | None = None
    prev: Cursor | None = None
    # In how many seconds the first of its rows comes to its end, to be counted from before it was asked for.
    expires_in: float | None = None
