"""Direct messages."""

from uuid import UUID

from flask import Blueprint, Response

from lib.body import field, has_field
from lib.http import attempt, db, page, send
from lib.sign_in import required
from routes.viewer import viewer
from services.create_message import CreateMessage
from services.create_message_group import CreateMessageGroup
from services.messages import Messages

bp = Blueprint("messages", __name__, url_prefix="/api/messages")


@bp.get("/<uuid:message_group_uuid>")
@required
def index(message_group_uuid: UUID) -> Response:
    """What was said in a conversation of one's own."""
    return send(Messages(db()).run(user=viewer(), message_group_uuid=message_group_uuid, page=page()))


@bp.post("")
@required
def create() -> Response:
    """Say something in a conversation, or to somebody."""
    sender, message = viewer(), field("message")
    if has_field("message_group_uuid"):
        group = field("message_group_uuid")
        return send(
            CreateMessage(db()).run(sender=sender, message=message, message_group_uuid=group, attempt=attempt())
        )
    return send(CreateMessageGroup(db()).run(sender=sender, message=message, handle=field("handle"), attempt=attempt()))
