"""A request's JSON body, read strictly (RFC 8259, and what I-JSON, RFC 7493, rules out)."""

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
# Of a worker's threads one never waits for a body: a client may send one as slowly as it likes.
READERS = THREADS - 1
# How long a request waits for its turn to be read.
TURN_SECONDS = 0.25


def init_app(app: Flask) -> None:
    """Bound how many threads of the process read bodies at once."""
    app.extensions["body_readers"] = BoundedSemaphore(READERS)


class JSONObject(NamedTuple):
    """A body that is a JSON object, by its members."""

    members: dict[str, Any]

    def get_str(self, name: str) -> str | None:
        """Return a member that is a string, `None` when it is missing or of another type."""
        value = self.members.get(name)
        return value if isinstance(value, str) else None

    def get_optional_str(self, name: str) -> str | None:
        """Return a member that is a string or null, `None` when it is missing. Raises `BadRequest` for other types."""
        value = self.members.get(name)
        if value is not None and not isinstance(value, str):
            raise BadRequest("json_invalid")
        return value

    def has(self, name: str) -> bool:
        """Return whether there is a member of that name, whatever its value."""
        return name in self.members


def json_object(request: Request) -> JSONObject:
    """Return the body. Raises `BadRequest`, `UnsupportedMediaType` and `RequestEntityTooLarge`."""
    # First, so that a body that is too large is so in any type.
    body = raw_body(request)
    # No coding but identity: its bytes would be taken for the JSON (RFC 9110, 8.4 and 15.5.16).
    codings = {coding.strip().lower() for coding in request.headers.get("Content-Encoding", "").split(",")}
    if request.mimetype != "application/json" or codings - {"", "identity"}:
        raise UnsupportedMediaType
    try:
        return JSONObject(parse_json_object(body))
    except (ValueError, RecursionError) as error:
        raise BadRequest("json_invalid") from error


def raw_body(request: Request, turn_seconds: float = TURN_SECONDS) -> bytes:
    """Return the body as it was sent, all of it. Raises `BadRequest`, `RequestEntityTooLarge` and `Overloaded`."""
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
    # A chunked body has no stated size: one byte more than the limit shows that it has too many.
    if len(body) > MAX_BYTES:
        raise RequestEntityTooLarge
    # The server does not tell when a client leaves in the middle.
    if request.content_length not in {None, len(body)}:
        raise BadRequest("json_invalid")
    return body


def has_body(environ: "WSGIEnvironment") -> bool:
    """Return whether a body follows the request's headers."""
    return environ.get("CONTENT_LENGTH", "") not in {"", "0"} or "HTTP_TRANSFER_ENCODING" in environ


def drain_body(request: Request) -> bool:
    """Read and discard the rest of the body. Return whether all of it was read."""
    # Without waiting for a turn: closing the connection is as good.
    with suppress(HTTPException, BadRequest, Overloaded):
        raw_body(request, turn_seconds=0)
        return True
    return False


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Return the object that `body` spells. Raises `ValueError`, `RecursionError`."""
    # A number is never text, and as a float it may have any number of digits.
    members = json.loads(
        body.decode(), object_pairs_hook=reject_duplicate_keys, parse_int=float, parse_constant=reject_constant
    )
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
