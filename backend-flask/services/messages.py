"""One conversation."""

from uuid import UUID

from lib import spans
from lib.database import Db
from lib.pagination import Order, Page, PageRequest
from lib.queries import PagedQuery, ParentQuery
from services.get_or_create_user import User

# Under a heading without keys: whoever is no member finds none, and no page.
MESSAGES = PagedQuery("messages/index", Order.NEWEST_LAST, ParentQuery("message_groups/show"))


class Messages:
    """What two people have said to each other."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(self, *, user: User, message_group_uuid: UUID, page_request: PageRequest) -> Page:
        """The last messages, oldest first; the next page has older ones. Raises `NotFound`, also to a stranger."""
        with spans.use_case("messages") as span:
            page = self.db.query_page(
                MESSAGES, page_request, user_uuid=user.uuid, message_group_uuid=message_group_uuid
            )
            span.set_attribute("app.result_length", page.length)
            return page
