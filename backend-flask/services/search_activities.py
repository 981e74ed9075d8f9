"""Searching activities for parts of words."""

import re
from threading import BoundedSemaphore

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import BoundedScan, PagedQuery
from lib.text import fold
from lib.turns import take_turn
from services.validation import raise_if_any, validate_text

# A page scans at most 20,000 activities, so it may be short.
SEARCH = PagedQuery("activities/search", scan=BoundedScan("activities/newest", 20_000))
# A scan of 1,000 activities fills a page with a word that one activity in fifty holds. The index would be slow for it.
SEARCH_BRIEF = PagedQuery("activities/search", scan=BoundedScan("activities/newest", 1_000))
SEARCH_RARE = PagedQuery("activities/search_rare")
MAX_TERM_CHARS = 100
# When more activities hold a word, the newest 20,000 hold it often enough.
MAX_MATCHES = 2_000
# A trigram that every text with the word contains. pg_trgm also makes trigrams of a word's ends, such as "  b" for
# `-b`. Far more texts have such a trigram than hold the word.
TRIGRAM = re.compile(r"[^\W_]{3}")


class SearchActivities:
    """Search live activities, replies too, for all words of a term."""

    def __init__(self, db: Db, turns: BoundedSemaphore) -> None:
        self.db = db
        # The semaphore that bounds how many searches run at once.
        self.turns = turns

    def run(self, *, term: str, page_request: PageRequest, reader: str | None = None) -> Page:
        """Return activities with every word of `term`, newest first. Raises `ValidationError`, `Overloaded`."""
        raise_if_any(validate_text("search_term", term, MAX_TERM_CHARS))
        with take_turn(self.turns), spans.use_case("search-activities") as span:
            page = self._search(fold(term).split(), page_request, reader)
            span.set_attribute("app.result_length", page.length)
            return page

    def _search(self, words: list[str], page_request: PageRequest, reader: str | None) -> Page:
        patterns = [pattern(word) for word in words]
        indexable = [word for word in words if TRIGRAM.search(word)]
        if indexable:
            page = self.db.query_page(SEARCH_BRIEF, page_request, words=patterns, reader=reader)
            if page.length == page_request.limit or not has_more(page, page_request):
                return page
            longest = pattern(max(indexable, key=len))
            (count,) = self.db.query_row("activities/search_count", longest=longest, limit=MAX_MATCHES + 1)
            if count <= MAX_MATCHES:
                return self.db.query_page(SEARCH_RARE, page_request, longest=longest, words=patterns, reader=reader)
        return self.db.query_page(SEARCH, page_request, words=patterns, reader=reader)


def has_more(page: Page, page_request: PageRequest) -> bool:
    """Return whether the feed may have more rows beyond a page, in the direction of its cursor."""
    is_backwards = page_request.cursor is not None and page_request.cursor.backwards
    return (page.prev if is_backwards else page.next) is not None


def pattern(word: str) -> str:
    """Return a LIKE pattern for texts that contain `word`. A `%` or `_` in the word matches itself only."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", word) + "%"
