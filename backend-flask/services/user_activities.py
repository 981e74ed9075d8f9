"""A user's profile and activities."""

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import PagedQuery, ParentQuery

USER = PagedQuery("activities/user", parent=ParentQuery("users/profile", key="profile", rows_key="activities"))


class UserActivities:
    """Read a user's profile and activities."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, handle: str, page_request: PageRequest, reader: str | None = None) -> Page:
        """Return the profile, and live activities without replies, newest first. Raises `NotFound`."""
        with spans.use_case("user-activities") as span:
            page = self.db.query_page(USER, page_request, handle=handle, reader=reader)
            span.set_attribute("app.result_length", page.length)
            return page
