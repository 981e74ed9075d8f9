"""Conversations."""

from flask import Blueprint, Response

from lib.http import db, send
from lib.sign_in import required
from routes.viewer import viewer
from services.message_groups import MessageGroups

bp = Blueprint("message_groups", __name__, url_prefix="/api/message_groups")


@bp.get("")
@required
def index() -> Response:
    """With whom one speaks."""
    return send(MessageGroups(db()).run(user=viewer()))
