"""The current user's profile."""

from flask import Blueprint, Response, request

from lib.auth import login_required
from lib.body import json_object
from lib.db import get_db
from lib.http import idempotency_key, json_response
from routes.current_user import current_user
from services.update_profile import UpdateProfile

bp = Blueprint("profile", __name__, url_prefix="/api/profile")


@bp.route("/update", methods=["PUT", "POST"])
@login_required
def update() -> Response:
    """Change the current user's display name and bio."""
    body = json_object(request)
    return json_response(
        UpdateProfile(get_db()).run(
            user=current_user,
            display_name=body.get_str("display_name"),
            bio=body.get_optional_str("bio"),
            has_bio=body.has("bio"),
            idempotency_key=idempotency_key(request),
        )
    )
