"""What people may write: the rules that several use cases share, and the codes for breaking them."""

import re
from collections.abc import Iterable

from lib.exceptions import ValidationError

MAX_MESSAGE_CHARS = 280
MAX_REPLY_CHARS = 1024
MENTION = re.compile(r"(?<!\w)@([A-Za-z0-9_]{1,30})(?!\w)")


def check(*codes: Iterable[str]) -> None:
    """Raise `ValidationError` with all the codes, in their order, if there are any."""
    found = [code for each in codes for code in each]
    if found:
        raise ValidationError(*found)


def text_codes(member: str, text: str | None, limit: int) -> list[str]:
    """What is wrong with a text that must not be blank, nor have more than `limit` code points."""
    if text is None or not text.strip():
        return [f"{member}_blank"]
    return [f"{member}_exceed_max_chars"] if len(text) > limit else []


def reply_codes(message: str | None) -> list[str]:
    """What is wrong with a reply or a direct message. The code for its length names the limit."""
    return [code.replace("chars", "chars_1024") for code in text_codes("message", message, MAX_REPLY_CHARS)]


def mentions(message: str | None) -> list[str]:
    """The handles that a message mentions, in lower case: `@handle`, unless it stands within a word."""
    return sorted({handle.lower() for handle in MENTION.findall(message or "")})
