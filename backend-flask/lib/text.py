"""Rules for text by Unicode's properties: storable and blank text, names, case folding, mentions and hashtags.

The rules serve messages, names, search terms, mentions and hashtags alike. Cognito's trigger in `aws/lambdas` uses them
too: its zip has this file.
"""

import unicodedata

import regex

# White space, controls and Unicode's ignorable characters (soft hyphen, joiners, directional marks, variation
# selectors, Hangul fillers) are invisible. The signs of Prepended_Concatenation_Mark, such as U+06DD, have the
# category Cf and are visible. Braille's blank pattern, U+2800, is the one blank that no property names.
INVISIBLE = regex.compile(
    r"[[\p{White_Space}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\u2800]"
    r"--\p{Prepended_Concatenation_Mark}]*",
    regex.VERSION1,
)
# A name appears within a line of other text. A control (ESC), a line break, or a directional embedding, override or
# isolate (UAX #9) would affect the text around it. A single directional mark, common in Arabic names, does not.
CONTROL = regex.compile(
    r"[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Class=LRE}\p{Bidi_Class=RLE}\p{Bidi_Class=LRO}\p{Bidi_Class=RLO}\p{Bidi_Class=PDF}"
    r"\p{Bidi_Class=LRI}\p{Bidi_Class=RLI}\p{Bidi_Class=FSI}\p{Bidi_Class=PDI}]"
)
IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
# A URL from its `://` or `www.` on, with the characters of RFC 3986 and the letters of RFC 3987.
URL = r"(?:[A-Za-z0-9+.-]://|(?<![A-Za-z0-9_.])[Ww]{3}\.)[\w\p{M}\-.~:/?#\[\]@!$&'()*+,;=%]*"
# A URL, which matches without a group, or a mention. A handle is ASCII, so any other letter may come before and after
# it, as in Japanese.
MENTION = regex.compile(rf"{URL}|(?<![A-Za-z0-9_@/])@([A-Za-z0-9_]{{1,30}})(?![A-Za-z0-9_@]|[./]\w)")
# A URL, which matches without a group, or a hashtag, also with the full-width sign U+FF03. A mark belongs to the letter
# before it. Ignorable characters, such as the joiners of Persian, do not end a hashtag. Before `#` they belong to no
# word: many an emoji ends in one.
HASHTAG = regex.compile(
    rf"{URL}|(?<![[\p{{L}}\p{{M}}\p{{N}}_#\uff03&/]--\p{{Default_Ignorable_Code_Point}}])"
    r"[#\uff03]([\p{L}\p{N}_][\p{L}\p{M}\p{N}_\p{Default_Ignorable_Code_Point}]*+)(?!://)",
    regex.VERSION1,
)
FOLDED_HASHTAG = regex.compile(r"[\p{L}\p{N}_][\p{L}\p{M}\p{N}_]{0,49}")
MAX_HASHTAGS = 10


def is_storable(text: str) -> bool:
    """Return whether Postgres can store the text: it has no U+0000 and no half of a surrogate pair."""
    return text == storable(text)


def storable(text: str) -> str:
    """Return the text without characters that Postgres cannot store."""
    return text.encode(errors="ignore").decode().replace("\0", "")


def is_blank(text: str) -> bool:
    """Return whether no character of the text is visible."""
    return INVISIBLE.fullmatch(text) is not None


def has_control(text: str) -> bool:
    """Return whether the text has a control character: one that affects the text or the terminal around it."""
    return CONTROL.search(text) is not None


def without_controls(text: str) -> str:
    """Return the text with each control character replaced by a space, and without surrounding white space."""
    return CONTROL.sub(" ", text).strip()


def fold(text: str) -> str:
    """Return the text in the form that a search compares: Unicode's toNFKC_Casefold, applied twice.

    Canonically equivalent texts become equal, and texts that differ in case, width, ligatures, variation selectors or
    soft hyphens. The second pass is for the few texts for which the first is not stable, such as U+0345 (Unicode,
    definition D146).
    """
    for _ in range(2):
        text = unicodedata.normalize("NFKC", IGNORABLE.sub("", unicodedata.normalize("NFD", text)).casefold())
    return text


def mentioned_handles(text: str) -> list[str]:
    """Return the handles that the text mentions as `@handle`: in lower case, without duplicates, sorted."""
    # The search takes 28 us for a short text, and most texts have no sign.
    if "@" not in text:
        return []
    return sorted({handle.lower() for handle in MENTION.findall(text) if handle})


def hashtags(text: str) -> list[str]:
    """Return the first ten hashtags of the text: folded, without `#` and without duplicates, in their order."""
    # The search takes 15 us for a short text.
    if "#" not in text and "\uff03" not in text:
        return []
    folded = dict.fromkeys(fold(tag) for tag in HASHTAG.findall(text))
    return [tag for tag in folded if is_hashtag(tag)][:MAX_HASHTAGS]


def is_hashtag(tag: str) -> bool:
    """Return whether a folded text is a hashtag without its `#`: 1 to 50 letters, digits, marks or `_`."""
    return FOLDED_HASHTAG.fullmatch(tag) is not None
