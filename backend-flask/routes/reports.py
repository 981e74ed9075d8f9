"""Reports to the operators."""

from flask import Blueprint, Response, request

from lib.auth import login_required
from lib.body import json_object
from lib.db import get_db
from lib.http import idempotency_key, json_response
from routes.current_user import current_user
from services.create_report import CreateReport, NewReport

bp = Blueprint("reports", __name__, url_prefix="/api/reports")


@bp.post("")
@login_required
def create() -> Response:
    """Report an activity, or a user by handle."""
    body = json_object(request)
    return json_response(
        CreateReport(get_db()).run(
            reporter=current_user,
            report=NewReport(
                activity_uuid=body.get_str("activity_uuid"),
                handle=body.get_str("handle"),
                category=body.get_str("category"),
                comment=body.get_optional_str("comment"),
            ),
            idempotency_key=idempotency_key(request),
        )
    )
