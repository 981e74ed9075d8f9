"""Validation rules that several use cases share. Each broken rule has a code."""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

from lib.exceptions import NotFound, ValidationError
from lib.text import has_control, is_blank
from services.new_user import MAX_DISPLAY_NAME_CHARS

MAX_MESSAGE_CHARS = 280
MAX_REPLY_CHARS = 1024
# The words for the lifetimes of activities, messages and mutes.
TTL = {
    "30-days": timedelta(days=30),
    "7-days": timedelta(days=7),
    "3-days": timedelta(days=3),
    "1-day": timedelta(days=1),
    "12-hours": timedelta(hours=12),
    "3-hours": timedelta(hours=3),
    "1-hour": timedelta(hours=1),
}


def raise_if_any(*codes: Iterable[str]) -> None:
    """Raise `ValidationError` with all the codes, in their order, if there are any."""
    flat = [code for each in codes for code in each]
    if flat:
        raise ValidationError(*flat)


def validate_text(member: str, text: str | None, limit: int) -> list[str]:
    """Return the codes for a text that is blank or has more than `limit` code points."""
    if text is None or is_blank(text):
        return [f"{member}_blank"]
    return [f"{member}_exceed_max_chars"] if len(text) > limit else []


def validate_display_name(name: str | None) -> list[str]:
    """Return the codes for a display name. A name must not break the line of text around it."""
    codes = validate_text("display_name", name, MAX_DISPLAY_NAME_CHARS)
    is_invalid = name is not None and has_control(name) and not is_blank(name)
    return ["display_name_invalid", *codes] if is_invalid else codes


def validate_reply(message: str | None) -> list[str]:
    """Return the codes for a reply or a direct message. The code for its length names the limit."""
    return [code.replace("chars", "chars_1024") for code in validate_text("message", message, MAX_REPLY_CHARS)]


def validate_optional_ttl(ttl: str | None) -> list[str]:
    """Return the codes for the ttl of a row that stays without one."""
    return [] if ttl is None or ttl in TTL else ["ttl_blank"]


def parse_until(text: str | None) -> datetime:
    """Return the time that `text` gives in ISO 8601, with its offset. Raises `ValidationError` for any other text."""
    with suppress(ValueError, OverflowError):
        until = datetime.fromisoformat(text or "")
        if until.tzinfo:
            return until.astimezone(UTC)
    raise ValidationError("until_blank")


def parse_uuid(text: str) -> UUID:
    """Return the uuid that `text` spells, in the form of URL paths. Raises `NotFound` for any other text."""
    if not re.fullmatch("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        raise NotFound
    return UUID(text)
