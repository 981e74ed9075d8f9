"""Activities: feeds, threads, search, and what people post."""

from typing import cast
from uuid import UUID

from flask import Blueprint, Response, current_app

from lib.body import field
from lib.http import arguments, attempt, db, page, send
from lib.paging import FIRST_PAGE
from lib.sign_in import optional, public, required, token
from routes.viewer import viewer
from services.create_activity import CreateActivity
from services.create_reply import CreateReply
from services.delete_activity import DeleteActivity
from services.home_activities import HomeActivities, VisitorsHome
from services.notifications_activities import NotificationsActivities
from services.search_activities import SearchActivities
from services.show_activity import ShowActivity
from services.user_activities import UserActivities

bp = Blueprint("activities", __name__, url_prefix="/api/activities")


@bp.get("/home")
@optional
def home() -> Response:
    """Everyone's live activities."""
    wanted = page()
    if wanted == FIRST_PAGE and token() is None:
        return send(cast(VisitorsHome, current_app.extensions["visitors_home"]).run())
    return send(HomeActivities(db()).run(page=wanted))


@bp.get("/search")
@public
def search() -> Response:
    """Live activities that say it."""
    return send(SearchActivities(db()).run(term=arguments().get("term", ""), page=page()))


@bp.get("/notifications")
@required
def notifications() -> Response:
    """What others have written to one."""
    return send(NotificationsActivities(db()).run(user=viewer(), page=page()))


@bp.get("/@<handle:handle>")
@public
def user(handle: str) -> Response:
    """A person and their live activities."""
    return send(UserActivities(db()).run(handle=handle, page=page()))


@bp.get("/@<handle:handle>/status/<uuid:activity_uuid>")
@public
def show(handle: str, activity_uuid: UUID) -> Response:
    """An activity and its live replies."""
    return send(ShowActivity(db()).run(handle=handle, activity_uuid=activity_uuid, page=page()))


@bp.post("")
@required
def create() -> Response:
    """Publish an activity."""
    return send(
        CreateActivity(db()).run(author=viewer(), message=field("message"), ttl=field("ttl"), attempt=attempt())
    )


@bp.post("/<uuid:activity_uuid>/reply")
@required
def reply(activity_uuid: UUID) -> Response:
    """Answer an activity."""
    return send(
        CreateReply(db()).run(author=viewer(), activity_uuid=activity_uuid, message=field("message"), attempt=attempt())
    )


@bp.delete("/<uuid:activity_uuid>")
@required
def delete(activity_uuid: UUID) -> Response:
    """Take back an activity of one's own."""
    return send(DeleteActivity(db()).run(author=viewer(), activity_uuid=activity_uuid))
