"""The messages of a conversation."""

from uuid import UUID

from lib import spans
from lib.database import Db
from lib.pagination import Order, Page, PageRequest
from lib.queries import PagedQuery, ParentQuery
from services.get_or_create_user import User

# The parent query has no keys: for a user who is no member it has no row, so there is no page.
MESSAGES = PagedQuery("messages/index", Order.NEWEST_LAST, ParentQuery("message_groups/show"))


class Messages:
    """Read the messages of one conversation."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, message_group_uuid: UUID, page_request: PageRequest) -> Page:
        """Return live messages, oldest first; the next page has older ones. Raises `NotFound` also to non-members."""
        with spans.use_case("messages") as span:
            page = self.db.query_page(
                MESSAGES, page_request, user_uuid=user.uuid, message_group_uuid=message_group_uuid
            )
            span.set_attribute("app.result_length", page.length)
            return page
