"""Strict reading of JSON request bodies (RFC 8259, with the restrictions of I-JSON, RFC 7493)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from flask import Flask, Request, current_app, g
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from lib.exceptions import BadRequest, Overloaded
from lib.local_proxy import unwrap
from lib.pool import THREADS
from lib.text import is_storable

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_BYTES = 64 * 1024
# One of a worker's threads never waits for a body: a client may send a body as slowly as it likes.
READERS = THREADS - 1
# The longest wait of a request for a free body reader.
TURN_SECONDS = 0.25


def init_app(app: Flask) -> None:
    """Bound the number of the process's threads that read bodies at once."""
    app.extensions["body_readers"] = BoundedSemaphore(READERS)


class JSONObject(NamedTuple):
    """The members of a JSON object."""

    members: dict[str, Any]

    def get_str(self, name: str) -> str | None:
        """Return the string member `name`, `None` when it is missing or of another type."""
        value = self.members.get(name)
        return value if isinstance(value, str) else None

    def get_optional_str(self, name: str) -> str | None:
        """Return the string member `name`, `None` when it is null or missing. Raises `BadRequest` for other types."""
        value = self.members.get(name)
        if value is not None and not isinstance(value, str):
            raise BadRequest("json_invalid")
        return value

    def get_choice(self, name: str) -> str | None:
        """Return the string member `name`, `None` when it is null or missing, and no word for other types."""
        return "" if self.members.get(name) is not None and self.get_str(name) is None else self.get_str(name)

    def has(self, name: str) -> bool:
        """Return whether the object has a member `name`, null included."""
        return name in self.members


def json_object(request: Request) -> JSONObject:
    """Return the body as a JSON object. Raises `BadRequest`, `UnsupportedMediaType` and `RequestEntityTooLarge`."""
    # The size check comes first, so that a large body of any media type gets 413.
    body = raw_body(request)
    # Identity is the only content coding: compressed bytes would be parsed as JSON (RFC 9110, 8.4 and 15.5.16).
    codings = {coding.strip().lower() for coding in request.environ.get("HTTP_CONTENT_ENCODING", "").split(",")}
    if request.mimetype != "application/json" or codings - {"", "identity"}:
        raise UnsupportedMediaType
    try:
        return JSONObject(parse_json_object(body))
    except (ValueError, RecursionError) as error:
        raise BadRequest("json_invalid") from error


def raw_body(request: Request, turn_seconds: float = TURN_SECONDS) -> bytes:
    """Return the whole body as the client sent it. Raises `BadRequest`, `RequestEntityTooLarge` and `Overloaded`."""
    state = unwrap(g)
    if "body" not in state:
        with body_reader(turn_seconds):
            state.body = read_body(request)
    return cast(bytes, state.body)


@contextmanager
def body_reader(turn_seconds: float) -> Iterator[None]:
    """Occupy one of the process's body readers. Raises `Overloaded` when none is free within `turn_seconds`."""
    readers = current_app.extensions["body_readers"]
    if not readers.acquire(timeout=turn_seconds):
        raise Overloaded
    try:
        yield
    finally:
        readers.release()


def read_body(request: Request) -> bytes:
    """Wait for the body and return it. Raises `BadRequest` and `RequestEntityTooLarge`."""
    body = request.get_data()
    # A chunked body declares no size. werkzeug reads one byte more than the limit, so that a longer body shows.
    if len(body) > MAX_BYTES:
        raise RequestEntityTooLarge
    # The server reports no error when a client disconnects in the middle of its body.
    if request.content_length not in {None, len(body)}:
        raise BadRequest("json_invalid")
    return body


def has_body(environ: "WSGIEnvironment") -> bool:
    """Return whether a body follows the request's headers."""
    return environ.get("CONTENT_LENGTH", "") not in {"", "0"} or "HTTP_TRANSFER_ENCODING" in environ


def drain_body(request: Request) -> bool:
    """Read and discard the rest of the body. Return whether all of it was read."""
    # No wait for a free reader: closing the connection is as good as reading.
    with suppress(HTTPException, BadRequest, Overloaded):
        raw_body(request, turn_seconds=0)
        return True
    return False


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Return the object that `body` spells. Raises `ValueError`, `RecursionError`."""
    text = body.decode()
    # The service reads no numbers. Parsed as a float, a number may have any count of digits.
    members = json.loads(text, object_pairs_hook=reject_duplicate_keys, parse_int=float, parse_constant=reject_constant)
    # Without an escape a string of JSON has no U+0000, and in UTF-8 no half of a surrogate pair.
    if "\\u" in text:
        reject_unstorable_text(members)
    if isinstance(members, dict):
        return members
    raise ValueError


def reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dictionary. Raises `ValueError` for two members of one name."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError
    return members


def reject_constant(_: str) -> NoReturn:
    """Raise `ValueError` for `NaN` and the infinities, which are not JSON."""
    raise ValueError


def reject_unstorable_text(value: Any) -> None:
    """Raise `ValueError` when `value` holds, at any depth, text that Postgres cannot store."""
    if isinstance(value, dict):
        for name, member in value.items():
            reject_unstorable_text(name)
            reject_unstorable_text(member)
    elif isinstance(value, list):
        for element in value:
            reject_unstorable_text(element)
    elif isinstance(value, str) and not is_storable(value):
        raise ValueError
