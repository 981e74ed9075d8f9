"""Activities with a hashtag."""

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import BoundedScan, PagedQuery
from lib.text import fold, is_hashtag

TAGGED = PagedQuery("activities/tagged", expires=True)
# A page scans at most 200 activities, so it may be short: the reader does not see all authors.
VISIBLE_TAGGED = PagedQuery("activities/tagged_visible", scan=BoundedScan("activities/tagged_entries", 200))


class TaggedActivities:
    """Read the live activities with a hashtag."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, tag: str, page_request: PageRequest, reader: str | None = None) -> Page:
        """Return activities with the hashtag, replies too, newest first. A text that is no hashtag has none."""
        with spans.use_case("tagged-activities") as span:
            folded = fold(tag)
            page = Page(b"[]", 0)
            if is_hashtag(folded):
                feed = VISIBLE_TAGGED if reader else TAGGED
                page = self.db.query_page(feed, page_request, tag=folded, reader=reader)
            elif reader:
                self.db.query_row("users/admit", reader=reader)
            span.set_attribute("app.result_length", page.length)
            return page
