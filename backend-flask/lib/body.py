"""A request's JSON body, read strictly (RFC 8259, and what I-JSON, RFC 7493, rules out)."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from lib.asked import Asked, asked
from lib.errors import BadRequest
from lib.wsgi import Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_BYTES = 64 * 1024


def read_bytes() -> bytes:
    """The body as it was sent, all of it. Raises `BadRequest` and `RequestEntityTooLarge`."""
    request = asked()
    sent = request.get_data()
    # Of a body in chunks nobody has said the size: one byte more than is taken shows that it has too many.
    if len(sent) > MAX_BYTES:
        raise RequestEntityTooLarge
    # The server does not tell when a client leaves in the middle.
    if request.content_length not in {None, len(sent)}:
        raise BadRequest("json_invalid")
    return sent


def leave_nothing_unread(request: Asked, answer: Answer) -> None:
    """Read what came with a request that was answered without it, or else say that the connection ends.

    What nobody reads would come after the answer, where the next request is looked for: the server hangs up then, and
    only sometimes says so. Whoever is not signed in is not waited for.
    """
    if not has_body(request.environ):
        return
    is_read = False
    if request.token is not None:
        with suppress(HTTPException, BadRequest):
            read_bytes()
            is_read = True
    if not is_read:
        answer.headers["Connection"] = "close"


def has_body(environ: "WSGIEnvironment") -> bool:
    """Whether something comes behind a request's headers."""
    return environ.get("CONTENT_LENGTH", "") not in {"", "0"} or "HTTP_TRANSFER_ENCODING" in environ


def read_body() -> dict[str, Any]:
    """The body, which is an object. Raises `BadRequest`, `UnsupportedMediaType` and `RequestEntityTooLarge`."""
    request = asked()
    if request.body is None:
        # First, so that what is too large is so in any type.
        sent = read_bytes()
        if request.mimetype != "application/json":
            raise UnsupportedMediaType
        try:
            request.body = parse(sent)
        except (ValueError, RecursionError) as error:
            raise BadRequest("json_invalid") from error
    return request.body


def field(name: str) -> str | None:
    """A member that is text; None when it is missing, or anything else."""
    value = read_body().get(name)
    return value if isinstance(value, str) else None


def has_field(name: str) -> bool:
    """Whether the body has a member of that name, whatever its value."""
    return name in read_body()


def nullable_field(name: str) -> str | None:
    """A member that is text or null. Raises `BadRequest` when it is anything else."""
    value = read_body().get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest("json_invalid")
    return value


def parse(sent: bytes) -> dict[str, Any]:
    """The object that `sent` spells. Raises `ValueError`, `RecursionError`."""
    # A number is never text, and as a float it may have any number of digits.
    body = json.loads(sent.decode(), object_pairs_hook=unique, parse_int=float, parse_constant=refuse)
    check_text(body)
    if isinstance(body, dict):
        return body
    raise ValueError


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of members with different names. Raises `ValueError`."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError
    return members


def refuse(_: str) -> NoReturn:
    """Raise `ValueError` for `NaN` and the infinities, which are not JSON."""
    raise ValueError


def check_text(value: Any) -> None:
    """Raise `ValueError` when there is a text anywhere in `value` that Postgres can't hold."""
    if isinstance(value, dict):
        for name, member in value.items():
            check_text(name)
            check_text(member)
    elif isinstance(value, list):
        for element in value:
            check_text(element)
    elif isinstance(value, str):
        # Half of a surrogate pair has no UTF-8.
        value.encode()
        if "\0" in value:
            raise ValueError
