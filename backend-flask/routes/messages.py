"""Direct messages."""

from uuid import UUID

from flask import Blueprint, Response, g, request

from lib.auth import login_required
from lib.body import json_object
from lib.db import get_db
from lib.http import idempotency_key, json_response, page_request
from routes.current_user import current_user
from services.create_message import CreateMessage
from services.create_message_group import CreateMessageGroup
from services.message_groups import ReadMessageGroup
from services.messages import Messages

bp = Blueprint("messages", __name__, url_prefix="/api/messages")


@bp.get("/<uuid:message_group_uuid>")
@login_required
def index(message_group_uuid: UUID) -> Response:
    """Return the messages of one of the current user's conversations."""
    page = page_request(g.args)
    return json_response(
        Messages(get_db()).run(user=current_user(), message_group_uuid=message_group_uuid, page_request=page)
    )


@bp.post("")
@login_required
def create() -> Response:
    """Send a message in a conversation, or to a user by handle."""
    body = json_object(request)
    message, ttl, key = body.get_str("message"), body.get_choice("ttl"), idempotency_key(request)
    if body.has("message_group_uuid"):
        group = body.get_str("message_group_uuid")
        return json_response(
            CreateMessage(get_db()).run(
                sender=current_user,
                message=message,
                message_group_uuid=group,
                ttl=ttl,
                idempotency_key=key,
            )
        )
    handle = body.get_str("handle")
    return json_response(
        CreateMessageGroup(get_db()).run(
            sender=current_user, message=message, handle=handle, ttl=ttl, idempotency_key=key
        )
    )


@bp.put("/<uuid:message_group_uuid>/read")
@login_required
def read(message_group_uuid: UUID) -> Response:
    """Mark the messages of a conversation as read, until the time in the body."""
    until = json_object(request).get_str("until")
    return json_response(
        ReadMessageGroup(get_db()).run(user=current_user, message_group_uuid=message_group_uuid, until=until)
    )
