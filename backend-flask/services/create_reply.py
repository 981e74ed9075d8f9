"""Replying to activities."""

from uuid import UUID

from lib import spans
from lib.database import Db
from lib.idempotency import IdempotencyKey, ReplayedResponse, run_once
from lib.pagination import JSONBytes
from lib.text import fold, hashtags, mentioned_handles
from services.validation import raise_if_any, validate_reply


class CreateReply:
    """Reply to a live activity. The reply expires together with it."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self,
        *,
        reader: str,
        activity_uuid: UUID,
        message: str | None,
        idempotency_key: IdempotencyKey | None,
    ) -> JSONBytes | ReplayedResponse:
        """Return the reply. Raises `ValidationError`, and `NotFound` when its parent is not live.

        `reader` is the claim `sub` of the author. Raises `NotFound` also when the author has no row.
        """
        raise_if_any(validate_reply(message))
        with spans.use_case("create-reply"):
            return run_once(
                self.db,
                reader,
                idempotency_key,
                write=lambda db, uuid: db.query_object(
                    "activities/reply",
                    uuid=uuid,
                    reader=reader,
                    activity_uuid=activity_uuid,
                    message=message,
                    search_text=fold(message or ""),
                    mentions=mentioned_handles(message or ""),
                    tags=hashtags(message or ""),
                ),
                replay=lambda resource: self.db.query_object(
                    "activities/find", activity_uuid=resource.uuid, reader=reader
                ),
            )
