"""A person's page."""

from lib import spans
from lib.database import Db
from lib.pagination import Page, PageRequest
from lib.queries import PagedQuery, ParentQuery

USER = PagedQuery("activities/user", heading=ParentQuery("users/profile", key="profile", rows_key="activities"))


class UserActivities:
    """Who somebody is, and what they post."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, handle: str, page_request: PageRequest) -> Page:
        """The profile, and live activities without replies, newest first. Raises `NotFound`."""
        with spans.use_case("user-activities") as span:
            page = self.db.query_page(USER, page_request, handle=handle)
            span.set_attribute("app.result_length", page.length)
            return page
