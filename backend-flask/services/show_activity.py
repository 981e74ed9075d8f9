"""An activity and its replies."""

from uuid import UUID

from lib import spans
from lib.database import Db
from lib.pagination import Order, Page, PageRequest
from lib.queries import BoundedScan, PagedQuery, ParentQuery

ACTIVITY = ParentQuery("activities/show", key="activity", rows_key="replies", expires=True)
REPLIES = PagedQuery("activities/replies", Order.OLDEST_FIRST, ACTIVITY, expires=True)
# A page scans at most 200 replies, so it may be short: a block hides some from the reader.
UNBLOCKED_REPLIES = PagedQuery(
    "activities/replies_unblocked", Order.OLDEST_FIRST, ACTIVITY, scan=BoundedScan("activities/reply_entries", 200)
)


class ShowActivity:
    """Read an activity and its replies."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, handle: str, activity_uuid: UUID, page_request: PageRequest, reader: str | None = None) -> Page:
        """Return an activity by `handle` and its live replies, oldest first. Raises `NotFound`."""
        with spans.use_case("show-activity") as span:
            feed = UNBLOCKED_REPLIES if reader else REPLIES
            page = self.db.query_page(feed, page_request, handle=handle, activity_uuid=activity_uuid, reader=reader)
            span.set_attribute("app.result_length", page.length)
            return page
