"""Search."""

import re

from lib import spans
from lib.database import Db
from lib.paging import Listing, Page
from lib.queries import Feed
from services.rules import check, text_codes

SEARCH = Feed("activities/search")
MAX_TERM_CHARS = 100


class SearchActivities:
    """What live activities say, replies too."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, term: str, page: Page) -> Listing:
        """Activities with every word of `term`, newest first. Raises `ValidationError`."""
        check(text_codes("search_term", term, MAX_TERM_CHARS))
        *others, longest = map(pattern, sorted(term.split(), key=len))
        with spans.use_case("search-activities") as span:
            # Planned for each term: a rare one is best found by its trigrams, and one that
            # many rows hold by walking the newest. A plan for any term does either badly.
            listing = self.db.query_page(SEARCH, page, prepare=False, longest=longest, others=others)
            span.set_attribute("app.result_length", listing.length)
            return listing


def pattern(word: str) -> str:
    """A LIKE pattern for texts with `word` in them, whose `%` and `_` stand for themselves."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", word) + "%"
