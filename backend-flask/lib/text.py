"""Text: which can be stored, which is blank, what a name may hold, what a search compares, whom it mentions.

Unicode's properties decide. The rules serve messages, names, search terms and mentions alike, and the trigger of
Cognito in `aws/lambdas`, whose zip has this file.
"""

import unicodedata

import regex

# White space, controls, and what Unicode calls ignorable (soft hyphen, joiners, directional marks, variation
# selectors, Hangul fillers) show nothing. The signs of Prepended_Concatenation_Mark, such as U+06DD, are of the
# category Cf and do. Braille's blank pattern, U+2800, is the one blank that no property names.
INVISIBLE = regex.compile(
    r"[[\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\u2800]"
    r"--\p{Prepended_Concatenation_Mark}]*",
    regex.VERSION1,
)
# A name stands within a line of other text. A control (ESC), a line break, or a directional embedding, override or
# isolate (UAX #9) would reach beyond it. A single directional mark, as names in Arabic have, does not.
CONTROL = regex.compile(
    r"[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Class=LRE}\p{Bidi_Class=RLE}\p{Bidi_Class=LRO}\p{Bidi_Class=RLO}\p{Bidi_Class=PDF}"
    r"\p{Bidi_Class=LRI}\p{Bidi_Class=RLI}\p{Bidi_Class=FSI}\p{Bidi_Class=PDI}]"
)
IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
# A URL, which is passed over from its `://` or `www.` on, or a mention. A URL has the characters of RFC 3986, and the
# letters of RFC 3987. A handle is ASCII, so that any other letter may stand before and after it, as in Japanese.
MENTION = regex.compile(
    r"(?:[A-Za-z0-9+.-]://|(?<![A-Za-z0-9_.])[Ww]{3}\.)[\w\p{M}\-.~:/?#\[\]@!$&'()*+,;=%]*"
    r"|(?<![A-Za-z0-9_@/])@([A-Za-z0-9_]{1,30})(?![A-Za-z0-9_@]|[./]\w)"
)


def is_storable(text: str) -> bool:
    """Return whether Postgres can store the text: without U+0000, and without half of a surrogate pair."""
    return text == storable(text)


def storable(text: str) -> str:
    """Return the text without what Postgres cannot store."""
    return text.encode(errors="ignore").decode().replace("\0", "")


def is_blank(text: str) -> bool:
    """Return whether no character of the text is visible."""
    return INVISIBLE.fullmatch(text) is not None


def has_control(text: str) -> bool:
    """Return whether the text holds a character that acts on the text or the terminal around it."""
    return CONTROL.search(text) is not None


def without_controls(text: str) -> str:
    """Return the text with a space in place of each such character, and none around it."""
    return CONTROL.sub(" ", text).strip()


def fold(text: str) -> str:
    """Return the text in the form in which a search compares it: Unicode's toNFKC_Casefold, twice.

    Canonically equivalent text, text of another case, width or ligature, and text with other variation selectors or
    soft hyphens is the same then. A second time: the first is not stable for a few texts, such as U+0345 (Unicode,
    definition D146).
    """
    for _ in range(2):
        text = unicodedata.normalize("NFKC", IGNORABLE.sub("", unicodedata.normalize("NFD", text)).casefold())
    return text


def mentioned_handles(text: str) -> list[str]:
    """Return the handles that the text mentions as `@handle`, in lower case, each once, in order."""
    return sorted({handle.lower() for handle in MENTION.findall(text) if handle})
