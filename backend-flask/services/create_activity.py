"""Publishing activities."""

from collections.abc import Callable

from lib import spans
from lib.database import Db
from lib.idempotency import IdempotencyKey, ReplayedResponse, run_once
from lib.pagination import JSONBytes
from lib.text import fold, hashtags, mentioned_handles
from services.get_or_create_user import User
from services.validation import MAX_MESSAGE_CHARS, TTL, raise_if_any, validate_text


class CreateActivity:
    """Publish an activity that expires after its ttl."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self,
        *,
        author: Callable[[], User],
        message: str | None,
        ttl: str | None,
        idempotency_key: IdempotencyKey | None,
    ) -> JSONBytes | ReplayedResponse:
        """Return the new activity. Raises `ValidationError` with every code that applies.

        The call of `author` comes after the validation: invalid input costs no query.
        """
        lifetime = TTL.get(ttl or "")
        raise_if_any(validate_text("message", message, MAX_MESSAGE_CHARS), [] if lifetime else ["ttl_blank"])
        user = author()
        with spans.use_case("create-activity"):
            return run_once(
                self.db,
                user.uuid,
                idempotency_key,
                write=lambda db, uuid: db.query_object(
                    "activities/create",
                    uuid=uuid,
                    user_uuid=user.uuid,
                    handle=user.handle,
                    display_name=user.display_name,
                    message=message,
                    search_text=fold(message or ""),
                    mentions=mentioned_handles(message or ""),
                    tags=hashtags(message or ""),
                    ttl=lifetime,
                ),
                replay=lambda resource: self.db.query_object(
                    "activities/find", activity_uuid=resource.uuid, reader=user.sub
                ),
            )
