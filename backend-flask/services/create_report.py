"""Reporting an activity or a user to the operators."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

from lib import spans
from lib.database import Db
from lib.exceptions import NotFound, ValidationError
from lib.idempotency import IdempotencyKey, ReplayedResponse, run_once
from lib.pagination import JSONBytes
from lib.text import is_blank
from services.get_or_create_user import User
from services.validation import parse_uuid, raise_if_any

CATEGORIES = ("spam", "legal", "harassment", "other")
MAX_COMMENT_CHARS = 1024
# The most reports of a reporter within 24 hours.
MAX_REPORTS = 100


class NewReport(NamedTuple):
    """The members of a request for a report. Each may be missing. With an activity the handle does not count."""

    activity_uuid: str | None
    handle: str | None
    category: str | None
    comment: str | None


class CreateReport:
    """Report a live activity, or a user. The same report again is one report."""

    def __init__(self, db: Db) -> None:
        self.db = db

    def run(
        self, *, reporter: Callable[[], User], report: NewReport, idempotency_key: IdempotencyKey | None
    ) -> JSONBytes | ReplayedResponse:
        """Return the report's uuid, new or not. Raises `ValidationError`, and `NotFound` for an unknown subject.

        The call of `reporter` comes after the validation: invalid input costs no query.
        """
        activity, handle, comment = map(text_or_none, (report.activity_uuid, report.handle, report.comment))
        raise_if_any(
            [] if report.category in CATEGORIES else ["report_category_blank"],
            [] if activity or handle else ["report_subject_blank"],
            ["comment_exceed_max_chars"] if len(comment or "") > MAX_COMMENT_CHARS else [],
        )
        activity_uuid = parse_uuid(activity) if activity else None
        user = reporter()
        same = {
            "reporter_uuid": user.uuid,
            "activity_uuid": activity_uuid,
            "handle": handle,
            "category": report.category,
        }
        with spans.use_case("create-report"):
            return run_once(
                self.db,
                user.sub,
                idempotency_key,
                write=lambda db, uuid: find_or_create(db, uuid, same, comment),
                replay=lambda _: self.db.query_object("reports/find", **same),
            )


def text_or_none(text: str | None) -> str | None:
    """Return a text, `None` for a blank one."""
    return None if text is None or is_blank(text) else text


def find_or_create(db: Db, uuid: UUID, same: dict[str, Any], comment: str | None) -> JSONBytes:
    """Return the uuid of the same report, or of a new one. Raises `NotFound`, and `ValidationError` at the limit."""
    with db.transaction() as transaction:
        transaction.query_row("reports/lock", reporter_uuid=same["reporter_uuid"])
        with suppress(NotFound):
            return transaction.query_object("reports/find", **same)
        (count,) = transaction.query_row("reports/count", reporter_uuid=same["reporter_uuid"])
        if count >= MAX_REPORTS:
            raise ValidationError("reports_exceed_max")
        query = "reports/create_of_activity" if same["activity_uuid"] else "reports/create_of_user"
        return transaction.query_object(query, uuid=uuid, **same, comment=comment)
