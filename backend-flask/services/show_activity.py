"""One activity and its replies."""

from uuid import UUID

from lib.db import Db, Feed, Heading
from lib.paging import Listing, Order, Page
from lib.tracing import use_case

ACTIVITY = Heading("activities/show", key="activity", rows_key="replies")
REPLIES = Feed("activities/replies", Order.OLDEST_FIRST, ACTIVITY)


class ShowActivity:
    """A conversation, from the activity that began it."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, handle: str, activity_uuid: UUID, page: Page) -> Listing:
        """The activity and its live replies, oldest first. Raises `NotFound`, also when it is not by `handle`."""
        with use_case("show-activity") as current:
            listing = self.db.query_page(REPLIES, page, handle=handle, activity_uuid=activity_uuid)
            current.set_attribute("app.result_length", listing.length)
            return listing
