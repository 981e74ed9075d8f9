"""Activities: feeds, threads, search."""

from uuid import UUID

from flask import Blueprint, Response

from lib.http import arguments, db, page, send
from services.home_activities import HomeActivities
from services.search_activities import SearchActivities
from services.show_activity import ShowActivity
from services.user_activities import UserActivities

bp = Blueprint("activities", __name__, url_prefix="/api/activities")


@bp.get("/home")
def home() -> Response:
    """Everyone's live activities."""
    return send(HomeActivities(db()).run(page=page()))


@bp.get("/search")
def search() -> Response:
    """Live activities that say it."""
    return send(SearchActivities(db()).run(term=arguments().get("term", ""), page=page()))


@bp.get("/@<handle:handle>")
def user(handle: str) -> Response:
    """A person and their live activities."""
    return send(UserActivities(db()).run(handle=handle, page=page()))


@bp.get("/@<handle:handle>/status/<uuid:activity_uuid>")
def show(handle: str, activity_uuid: UUID) -> Response:
    """An activity and its live replies."""
    return send(ShowActivity(db()).run(handle=handle, activity_uuid=activity_uuid, page=page()))
