"""What people may write: the rules that several use cases share, and the codes for breaking them."""

from collections.abc import Iterable

from lib.exceptions import ValidationError
from lib.text import has_control, is_blank
from services.new_user import MAX_DISPLAY_NAME_CHARS

MAX_MESSAGE_CHARS = 280
MAX_REPLY_CHARS = 1024


def raise_if_any(*codes: Iterable[str]) -> None:
    """Raise `ValidationError` with all the codes, in their order, if there are any."""
    found = [code for each in codes for code in each]
    if found:
        raise ValidationError(*found)


def validate_text(member: str, text: str | None, limit: int) -> list[str]:
    """What is wrong with a text that must not be blank, nor have more than `limit` code points."""
    if text is None or is_blank(text):
        return [f"{member}_blank"]
    return [f"{member}_exceed_max_chars"] if len(text) > limit else []


def validate_display_name(name: str | None) -> list[str]:
    """What is wrong with a display name, which stands within a line of other text."""
    codes = validate_text("display_name", name, MAX_DISPLAY_NAME_CHARS)
    is_invalid = name is not None and has_control(name) and not is_blank(name)
    return ["display_name_invalid", *codes] if is_invalid else codes


def validate_reply(message: str | None) -> list[str]:
    """What is wrong with a reply or a direct message. The code for its length names the limit."""
    return [code.replace("chars", "chars_1024") for code in validate_text("message", message, MAX_REPLY_CHARS)]
