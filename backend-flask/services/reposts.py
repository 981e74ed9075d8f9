"""Reposts of activities."""

from uuid import UUID

from lib import spans
from lib.database import Db
from lib.pagination import JSONBytes, Page, PageRequest
from lib.queries import PagedQuery, ParentQuery
from services.reactions import write_reaction

REPOSTS = PagedQuery("reposts/index", parent=ParentQuery("activities/find"), has_items=True)


class RepostActivity:
    """Repost a live activity."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, reader: str, activity_uuid: UUID) -> JSONBytes:
        """Return the activity, also when the reader reposted it before. Raises `NotFound` when it is not live."""
        with spans.use_case("repost-activity"):
            return write_reaction(self.db, "reposts/create", reader, activity_uuid)


class UnrepostActivity:
    """Remove a repost of a live activity."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, reader: str, activity_uuid: UUID) -> JSONBytes:
        """Return the activity, also when the reader did not repost it. Raises `NotFound` when it is not live."""
        with spans.use_case("unrepost-activity"):
            return write_reaction(self.db, "reposts/delete", reader, activity_uuid)


class ActivityReposts:
    """Read the users who reposted an activity."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, activity_uuid: UUID, page_request: PageRequest) -> Page:
        """Return users, the newest repost first. Raises `NotFound` when the activity is not live."""
        with spans.use_case("activity-reposts") as span:
            page = self.db.query_page(REPOSTS, page_request, activity_uuid=activity_uuid)
            span.set_attribute("app.result_length", page.length)
            return page
