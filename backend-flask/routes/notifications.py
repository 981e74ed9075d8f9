"""Notifications of the current user."""

from flask import Blueprint, Response, g, request

from lib.auth import login_required
from lib.body import json_object
from lib.db import get_db
from lib.http import json_response, page_request
from routes.current_user import current_user, for_current_user
from services.notifications import Notifications, ReadNotifications, UnreadNotifications

bp = Blueprint("notifications", __name__, url_prefix="/api/notifications")


@bp.get("")
@login_required
def index() -> Response:
    """Return replies, mentions, likes, reposts and follows by others."""
    page, notifications = page_request(g.args), Notifications(get_db())
    return json_response(for_current_user(lambda sub: notifications.run(reader=sub, page_request=page)))


@bp.get("/unread")
@login_required
def unread() -> Response:
    """Return the number of unread notifications."""
    return json_response(for_current_user(lambda sub: UnreadNotifications(get_db()).run(reader=sub)))


@bp.put("/read")
@login_required
def read() -> Response:
    """Mark notifications as read, until the time in the body."""
    until = json_object(request).get_str("until")
    return json_response(ReadNotifications(get_db()).run(user=current_user, until=until))
