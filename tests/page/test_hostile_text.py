"""Names, messages and bios that try to run code, to break the layout, or to reorder the text around them."""

import pytest
from playwright.sync_api import Page, expect

from lib.text import without_controls
from tests.factories import Make
from tests.page.conftest import Visit, scroll_to_end

pytestmark = pytest.mark.slow

RUN = "window.ran = true"
HOSTILE = [
    # HTML and scripts
    f"<script>{RUN}</script>",
    f"<img src=x onerror='{RUN}'>",
    f'"><svg onload="{RUN}">',
    f"<svg><script>{RUN}</script></svg>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<a href='javascript:{RUN}'>here</a>",
    f"javascript:{RUN}",
    f'https://example.com/"onmouseover="{RUN}',
    f"https://example.com/'><script>{RUN}</script>",
    f"http://javascript:{RUN}@example.com/",
    f"data:text/html,<script>{RUN}</script>",
    "</textarea></article></main>",
    "<!--", "-->", "<![CDATA[", "]]>", "&lt;b&gt;", "&#60;b&#62;", "<b>bold</b>",
    "<style>*{display:none}</style>",
    "<base href='https://example.com/'>", "<meta http-equiv='refresh' content='0;url=https://example.com/'>",
    "{{constructor.constructor('alert(1)')()}}", "${alert(1)}", "{% raw %}{{ 1 }}{% endraw %}",
    "%3Cscript%3E", "\\u003cscript\\u003e",
    "'; DROP TABLE users; --", "=cmd|' /C calc'!A0",
    # direction and invisible characters
    "\u202egnihtemos", "\u2066\u2067isolated", "\u202d\u202e\u202a\u202b", "\u061cArabic mark",
    "a\u200bb\u200cc\u200dd\ufeff",
    "\u00adsoft\u00adhyphen", "\u2028line\u2029paragraph", "\u034f\u180e\u3164x", "مرحبا بالعالم",
    "שלום <b>עולם</b>",
    # width and height
    "W" * 50, "﷽" * 50, "a" + "\u0301" * 49, "Z\u0351\u036b\u0343\u036a\u0302\u0348\u0349" * 6,
    "\t" * 40 + "x", "\n" * 49 + "x",
    "👨‍👩‍👧‍👦" * 7, "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\U000e0001\U000e0041x", "\u1f3f4\u0489", "꧅" * 50, "𒐫" * 50,
    # links, mentions and hashtags without an end
    "@" * 50, "#" * 50, "@a/" * 16, "https://" * 6, "https://[::1]:99999999/", "www." * 12, "#a" * 25,
]  # fmt: skip
WIDTHS = (320, 1200)


def name_of(text: str) -> str:
    """Return the text as a name, which has no controls."""
    return without_controls(text[:50]) or "x"


def expect_sound_page(page: Page, width: int) -> None:
    """Expect that nothing ran, that nothing is wider than the page, and that its own parts are visible."""
    assert page.evaluate("window.ran") is None
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert (
        page.evaluate("document.querySelectorAll('main script, main iframe, main style, main img, main svg').length")
        == 0
    )
    assert page.evaluate("[...document.links].every(({protocol}) => ['http:', 'https:'].includes(protocol))")
    expect(page.get_by_role("banner").get_by_role("link", name="Home")).to_be_visible()
    expect(page.get_by_role("contentinfo")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_texts_stay_texts(visit: Visit, make: Make, width: int) -> None:
    assert len(HOSTILE) >= 50
    for number, text in enumerate(HOSTILE):
        author = make.user(f"author{number}", display_name=name_of(text), bio=text[:160])
        make.activity(author, text, age=f"{number} minutes")
    page = visit(path="livez", viewport={"width": width, "height": 800})
    page.goto("")
    scroll_to_end(page)
    assert page.locator("article .message").evaluate_all("all => all.map(each => each.textContent)") == HOSTILE
    assert page.locator("article bdi.name").evaluate_all("all => all.map(each => each.textContent)") == [
        name_of(text) for text in HOSTILE
    ]
    # A card is no higher than what it shows of a message, and lies within its list.
    expect_sound_page(page, width)


def test_hostile_messages_and_notifications_stay_texts(visit: Visit, make: Make) -> None:
    reader, sender = make.user("reader", display_name="W" * 50), make.user("sender")
    group = make.conversation(reader, sender)
    activity = make.activity(reader, "of my own")
    for number, text in enumerate(HOSTILE):
        author = make.user(f"author{number}", display_name=name_of(text))
        make.activity(author, text, reply_to=activity)
        make.message(group, sender, text, age=f"{len(HOSTILE) - number} minutes")
        make.conversation(author, reader, text)
    page = visit(reader, viewport={"width": WIDTHS[0], "height": 800})
    expect(page.get_by_role("banner")).to_contain_text(reader.display_name)
    for path in ("notifications", f"@reader/status/{activity.uuid}"):
        page.goto(path)
        scroll_to_end(page)
        expect_sound_page(page, WIDTHS[0])
    page.goto("messages")
    expect(page.get_by_role("main").get_by_role("listitem")).to_have_count(20)
    expect_sound_page(page, WIDTHS[0])
    page.goto(f"messages/{group}")
    older = page.get_by_role("button", name="Show older messages")
    for count in (20, 40, len(HOSTILE)):
        expect(page.locator(".bubble")).to_have_count(count)
        if count < len(HOSTILE):
            older.click()
    assert page.locator(".bubble .message").evaluate_all("all => all.map(each => each.textContent)") == HOSTILE
    expect_sound_page(page, WIDTHS[0])


def test_hostile_bios_stay_texts(visit: Visit, make: Make) -> None:
    page = visit(viewport={"width": WIDTHS[0], "height": 800})
    for number, text in enumerate(HOSTILE):
        make.user(f"author{number}", display_name=name_of(text), bio=text[:160])
        page.evaluate("window.old = document.querySelector('.view')")
        page.evaluate(
            """path => { const link = document.createElement("a"); link.href = path; document.body.append(link);
                         link.click(); link.remove() }""",
            f"@author{number}",
        )
        expect(page.get_by_text(f"@author{number}", exact=True)).to_be_visible()
        assert page.locator(".profile bdi").evaluate("each => each.textContent") == name_of(text)
        assert page.locator(".profile .message").evaluate("each => each.textContent") == text[:160]
        expect_sound_page(page, WIDTHS[0])
