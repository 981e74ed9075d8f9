"""Mentions and hashtags are links on the page exactly where the service finds them."""

from urllib.parse import unquote

import pytest

from lib.text import fold, hashtags, mentioned_handles
from routes.pages import assets
from tests.page.conftest import Visit

pytestmark = pytest.mark.slow

MENTIONS = [
    *(
        "@lin",
        ".@lin",
        "こんにちは@linさん",
        "@LIN!",
        "(@lin)",
        "@lin.",
        "@lin/",
        "☁️@lin☁️",
        "@lin ①",
        "@lin/①",
        "@lin.²",
    ),
    *(
        "a@lin",
        "@@lin",
        "/@lin",
        "@lin@example.com",
        "@lin/a",
        "@lin.example",
        "@lin/\u0301a",
        "@lin.\u200da",
        "@" + "a" * 31,
    ),
    *("https://example.com/@lin", "www.example.com/@lin", "a://\u200d@lin", "a://①@lin"),
]
HASHTAGS = [
    *("#Cloud", "(#cloud)", "#cloud-native", "@#cloud", "#cloud#aws", "\uff03cloud", "#\uff23\uff4c", "#clo\u00adud"),
    *("☁️#cloud☁️", "\u200b#cloud\ufeff", "https://example.com、#cloud", "a://b\n#cloud", "#हिन्दी", "#" + "a" * 50),
    *("#", "# cloud", "##cloud", "a#cloud", "&#39;", "/#cloud", "é#cloud", "#👍", "#\u0301cloud", "#-cloud", "#ﷺ"),
    *("https://example.com#cloud", "www.example.com/#cloud", "#https://example.com", "a://\u200d#cloud"),
    # One character too many, as written or folded.
    *("#" + "a" * 51, "#" + "\ufb03" * 17),
    # Letters, but invisible; and a sign that folds to none.
    *("#\u3164", "\uff03\u115f", "#\u3164 #cloud", "#½"),
]
LINKS = """async ([module, texts]) => {
    const {richText} = await import(module);
    const linked = text => richText(text).filter(part => typeof part !== "string");
    return texts.map(text => linked(text).map(link => link.getAttribute("href")));
}"""


def test_mentions_and_hashtags_are_links(subtests: pytest.Subtests, visit: Visit) -> None:
    texts = [*MENTIONS, *HASHTAGS]
    page = visit()
    linked = page.evaluate(LINKS, [f"/web/{assets().digest}/dom.js", texts])
    for text, references in zip(texts, linked, strict=True):
        with subtests.test(text):
            handles = {path[1:].lower() for path in references if path.startswith("@")}
            tags = dict.fromkeys(fold(unquote(path[5:])) for path in references if path.startswith("tags/"))

            assert sorted(handles) == mentioned_handles(text)
            assert list(tags) == hashtags(text)
