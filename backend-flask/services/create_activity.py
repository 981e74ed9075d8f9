"""Publishing activities."""

from lib import spans
from lib.database import Db
from lib.idempotency import IdempotencyKey, ReplayedResponse, run_once
from lib.pagination import JSONBytes
from lib.text import fold, hashtags, mentioned_handles
from services.validation import MAX_MESSAGE_CHARS, TTL, raise_if_any, validate_text


class CreateActivity:
    """Publish an activity that expires after its ttl."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self,
        *,
        reader: str,
        message: str | None,
        ttl: str | None,
        idempotency_key: IdempotencyKey | None,
    ) -> JSONBytes | ReplayedResponse:
        """Return the new activity. Raises `ValidationError` with every code that applies.

        `reader` is the claim `sub` of the author. Raises `NotFound` when the author has no row.
        """
        lifetime = TTL.get(ttl or "")
        raise_if_any(validate_text("message", message, MAX_MESSAGE_CHARS), [] if lifetime else ["ttl_blank"])
        with spans.use_case("create-activity"):
            return run_once(
                self.db,
                reader,
                idempotency_key,
                write=lambda db, uuid: db.query_object(
                    "activities/create",
                    uuid=uuid,
                    reader=reader,
                    message=message,
                    search_text=fold(message or ""),
                    mentions=mentioned_handles(message or ""),
                    tags=hashtags(message or ""),
                    ttl=lifetime,
                ),
                replay=lambda resource: self.db.query_object(
                    "activities/find", activity_uuid=resource.uuid, reader=reader
                ),
            )
