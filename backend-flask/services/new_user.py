"""The row of a new person, made of what Cognito knows of them.

For signing in, and for the trigger of Cognito in `aws/lambdas`, whose zip has this file.
"""

import re
import secrets
from collections.abc import Iterator, Mapping

from lib.text import is_blank, storable, without_controls

MAX_DISPLAY_NAME_CHARS = 50
MAX_HANDLE_CHARS = 30
# Of 65,536 endings to one handle, so that as good as never all are taken.
HANDLES_TRIED = 10


def candidate_rows(attributes: Mapping[str, str]) -> Iterator[dict[str, str | None]]:
    """`handle`, `display_name` and `email`, the best row first: the next is for when the handle is taken.

    `attributes` are those of Cognito's that OpenID Connect names: `preferred_username`, `name`, `email`.
    """
    name = without_controls(storable(attributes.get("name", "")))[:MAX_DISPLAY_NAME_CHARS]
    email = storable(attributes.get("email", "")) or None
    for handle in candidate_handles(attributes.get("preferred_username", "")):
        yield {"handle": handle, "display_name": handle if is_blank(name) else name, "email": email}


def candidate_handles(wanted: str) -> Iterator[str]:
    """The handles for somebody who wants to be called `wanted`, the best first."""
    valid = re.sub("[^A-Za-z0-9_]", "", wanted)
    if valid == wanted and 0 < len(wanted) <= MAX_HANDLE_CHARS:
        yield wanted
    for _ in range(HANDLES_TRIED):
        ending = "_" + secrets.token_hex(2)
        yield (valid or "user")[: MAX_HANDLE_CHARS - len(ending)] + ending
