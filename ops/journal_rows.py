"""The new values of the journal's rows: users, replies, and the texts of activities.

No function here uses the database.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import count
from typing import NamedTuple
from uuid import UUID, uuid5

from lib.text import fold, has_control, hashtags, is_blank, mentioned_handles, without_controls
from services.new_user import MAX_DISPLAY_NAME_CHARS, is_valid_handle, suffixed_handle
from services.update_profile import MAX_BIO_CHARS
from services.validation import MAX_MESSAGE_CHARS, MAX_REPLY_CHARS

# The claim `sub` of an access token. A user with any other value, such as the journal's `MOCK`, is a stand-in.
SUB = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
# A stand-in's cognito_user_id begins so, and its uuid follows: no sub can equal that.
STAND_IN = "MOCK:"
# A handle has 65,536 possible suffixes of four digits. Ten of them are practically never all in use, unless very many
# users want the same handle.
SHORT_SUFFIXES = 10
# The characters of which a message may not consist alone, as in the schema's check.
BLANKS = "".join(map(chr, [*range(0x01, 0x21), *range(0x7F, 0xA1)]))
# The message of an activity without a visible character: U+FFFD, as in revision 0005.
NO_TEXT = "\ufffd"


class JournalUser(NamedTuple):
    """A row of the journal's `users`. A missing row has activities alone."""

    uuid: UUID
    handle: str | None
    display_name: str | None
    bio: str | None
    cognito_user_id: str | None
    is_missing: bool


class NewUser(NamedTuple):
    """The values of a user that our schema accepts, and the names of the columns that changed."""

    uuid: UUID
    handle: str
    display_name: str
    bio: str | None
    cognito_user_id: str
    changes: list[str]


class Text(NamedTuple):
    """A message, or a part of one that is too long, with what the service derives from it."""

    activity_uuid: UUID
    uuid: UUID
    previous_uuid: UUID | None
    part: int
    message: str
    search_text: str
    mentions: list[str]
    tags: list[str]
    is_changed: bool


class Member(NamedTuple):
    """An activity of a thread: the parent that it names, if that exists, and its end in microseconds."""

    uuid: UUID
    parent: UUID | None
    end: int | None
    is_reply: bool


class Threads(NamedTuple):
    """The parents of the replies, the activity with which each reply ends, and the replies that became activities."""

    parents: dict[UUID, UUID]
    ends_with: dict[UUID, UUID]
    unknown: list[UUID]
    circular: list[UUID]


def new_users(users: Iterable[JournalUser]) -> list[NewUser]:
    """Return the new values of all users. The first user with a handle or a `sub` keeps it."""
    users = list(users)
    handles: dict[UUID, str] = {}
    taken: set[str] = set()
    for user in users:
        if user.handle and is_valid_handle(user.handle) and user.handle.lower() not in taken:
            handles[user.uuid] = user.handle
            taken.add(user.handle.lower())
    for user in users:
        if user.uuid not in handles:
            handles[user.uuid] = free_handle(user, taken)
            taken.add(handles[user.uuid].lower())
    subs: set[str] = set()
    return [new_user(user, handles[user.uuid], subs) for user in users]


def free_handle(user: JournalUser, taken: set[str]) -> str:
    """Return a handle that no user has: the old one with digits of the user's uuid."""
    for attempt in count():
        digits = sha256(f"{user.uuid} {attempt}".encode()).hexdigest()[: 4 if attempt < SHORT_SUFFIXES else 8]
        handle = suffixed_handle(user.handle or "", digits)
        if handle.lower() not in taken:
            return handle
    raise AssertionError


def new_user(user: JournalUser, handle: str, subs: set[str]) -> NewUser:
    """Return the new values of a user. `subs` has those of the users before, and gets this user's."""
    sub = user.cognito_user_id
    if sub is None or not re.fullmatch(SUB, sub) or sub in subs:
        sub = f"{STAND_IN}{user.uuid}"
    subs.add(sub)
    name = new_display_name(user.display_name or "", handle)
    bio = user.bio and user.bio[:MAX_BIO_CHARS]
    new = {"handle": handle, "display_name": name, "bio": bio, "cognito_user_id": sub}
    changes = [column for column, value in new.items() if value != getattr(user, column)]
    return NewUser(user.uuid, handle, name, bio, sub, ["uuid", *changes] if user.is_missing else changes)


def new_display_name(name: str, handle: str) -> str:
    """Return the name, if a user can have it, else the nearest one that a user can have."""
    if len(name) > MAX_DISPLAY_NAME_CHARS or has_control(name):
        name = without_controls(name)[:MAX_DISPLAY_NAME_CHARS]
    return handle if is_blank(name) else name


def threads(members: Iterable[Member]) -> Threads:
    """Return the replies with a parent. The oldest of replies in a circle becomes an activity without one.

    A reply ends with its parent at the latest.
    """
    members = list(members)
    parents = {member.uuid: member.parent for member in members if member.parent is not None}
    circular = break_circles(parents)
    unknown = [member.uuid for member in members if member.is_reply and member.parent is None]
    return Threads(parents, endings({member.uuid: member.end for member in members}, parents), unknown, circular)


def break_circles(parents: dict[UUID, UUID]) -> list[UUID]:
    """Remove the first reply of each circle from `parents`, and return those replies."""
    order = {uuid: number for number, uuid in enumerate(parents)}
    done: set[UUID] = set()
    removed = []
    for start in order:
        path: dict[UUID, int] = {}
        uuid = start
        while uuid in parents and uuid not in done and uuid not in path:
            path[uuid] = len(path)
            uuid = parents[uuid]
        if uuid in path:
            first = min(list(path)[path[uuid] :], key=order.__getitem__)
            removed.append(first)
            del parents[first]
        done.update(path)
    return removed


def endings(ends: dict[UUID, int | None], parents: dict[UUID, UUID]) -> dict[UUID, UUID]:
    """Return for each reply the activity with which it ends: itself, or an ancestor that ends before."""

    def end(uuid: UUID) -> float:
        found = ends[uuid]
        return float("inf") if found is None else found

    ends_with: dict[UUID, UUID] = {}
    for start in parents:
        path = [start]
        while path[-1] in parents and path[-1] not in ends_with:
            path.append(parents[path[-1]])
        nearest = ends_with.get(path[-1], path[-1])
        for uuid in reversed(path):
            nearest = min(uuid, nearest, key=end)
            ends_with[uuid] = nearest
    return {uuid: ends_with[uuid] for uuid in parents}


def texts(uuid: UUID, message: str, *, is_reply: bool) -> Iterator[Text]:
    """Yield the message of an activity. The rest of a long one continues in replies of the same user."""
    parts = divide(message, MAX_REPLY_CHARS if is_reply else MAX_MESSAGE_CHARS)
    previous = None
    for number, part in enumerate(parts, start=1):
        own = uuid if previous is None else uuid5(uuid, str(number))
        yield Text(
            *(uuid, own, previous, number, part),
            *(fold(part), mentioned_handles(part), hashtags(part)),
            is_changed=parts != [message],
        )
        previous = own


def divide(message: str, limit: int) -> list[str]:
    """Return the parts of a message that the schema accepts, the first one with up to `limit` characters.

    Only blank characters may be missing between them, and U+FFFD stands for a message without any other.
    """
    if len(message) <= limit and message.strip(BLANKS):
        return [message]
    rest = message.strip(BLANKS) or NO_TEXT
    parts: list[str] = []
    while rest:
        end = cut(rest, MAX_REPLY_CHARS if parts else limit)
        parts.append(rest[:end])
        rest = rest[end:]
    return [part for part in parts if part.strip(BLANKS)]


def cut(text: str, limit: int) -> int:
    """Return the length of the first part: up to `limit`, and to the end of a word if one ends in the second half."""
    if len(text) <= limit:
        return len(text)
    end = max(text.rfind(blank, 0, limit) for blank in " \n") + 1
    return end if end > limit // 2 else limit
