"""Conversations."""

from flask import Blueprint, Response

from lib.auth import login_required
from lib.db import get_db
from lib.http import json_response
from routes.current_user import current_user
from services.message_groups import MessageGroups

bp = Blueprint("message_groups", __name__, url_prefix="/api/message_groups")


@bp.get("")
@login_required
def index() -> Response:
    """Return the current user's conversations."""
    return json_response(MessageGroups(get_db()).run(user=current_user()))
