"""The row of a new user, from Cognito's attributes.

The service uses this module, and so does Cognito's trigger in `aws/lambdas`, whose zip has this file.
"""

import re
import secrets
from collections.abc import Iterator, Mapping

from lib.text import is_blank, storable, without_controls

MAX_DISPLAY_NAME_CHARS = 50
MAX_HANDLE_CHARS = 30
# A handle has 65,536 possible suffixes, so that ten of them are practically never all in use.
MAX_SUFFIXES = 10
# The handles of deleted users.
RESERVED = re.compile("deleted_", re.IGNORECASE)


def candidate_rows(attributes: Mapping[str, str]) -> Iterator[dict[str, str | None]]:
    """Yield rows of `handle`, `display_name` and `email`, the best one first. Try the next when a handle is in use.

    `attributes` are Cognito's, by the names of OpenID Connect: `preferred_username`, `name`, `email`.
    """
    name = without_controls(storable(attributes.get("name", "")))[:MAX_DISPLAY_NAME_CHARS]
    email = storable(attributes.get("email", "")) or None
    for handle in candidate_handles(attributes.get("preferred_username", "")):
        yield {"handle": handle, "display_name": handle if is_blank(name) else name, "email": email}


def candidate_handles(username: str) -> Iterator[str]:
    """Yield valid handles for the preferred `username`, the best one first."""
    if is_valid_handle(username):
        yield username
    for _ in range(MAX_SUFFIXES):
        yield suffixed_handle(username, secrets.token_hex(2))


def is_valid_handle(handle: str) -> bool:
    """Return whether a new user can have the handle, if no other user has it."""
    return re.fullmatch("[A-Za-z0-9_]+", handle) is not None and (
        len(handle) <= MAX_HANDLE_CHARS and not RESERVED.match(handle)
    )


def suffixed_handle(username: str, digits: str) -> str:
    """Return a valid handle of the valid characters of `username` and a suffix with the digits."""
    valid = re.sub("[^A-Za-z0-9_]", "", username)
    # A suffix would make a reserved handle of `deleted` too.
    if RESERVED.match(f"{valid}_"):
        valid = f"_{valid}"
    suffix = f"_{digits}"
    return (valid or "user")[: MAX_HANDLE_CHARS - len(suffix)] + suffix
