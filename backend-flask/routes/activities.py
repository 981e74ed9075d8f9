"""Activities: feeds, threads, search, and what people post."""

from threading import BoundedSemaphore
from typing import cast
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app, g, request

from lib.auth import login_optional, login_required, public
from lib.body import json_object
from lib.db import get_db
from lib.http import copy_response, idempotency_key, json_response, page_request
from lib.pagination import FIRST_PAGE
from lib.rate_limits import search_limited
from routes.current_user import current_user
from services.create_activity import CreateActivity
from services.create_reply import CreateReply
from services.delete_activity import DeleteActivity
from services.home_activities import AnonymousHomeFeed, HomeActivities
from services.notifications_activities import NotificationsActivities
from services.search_activities import SearchActivities
from services.show_activity import ShowActivity
from services.user_activities import UserActivities

# Of a worker's threads only one searches at a time.
SEARCHES = 1

bp = Blueprint("activities", __name__, url_prefix="/api/activities")


def init_app(app: Flask) -> None:
    """Give the application its cache and its turns to search, which one process has, and register the routes."""
    app.extensions["anonymous_home_feed"] = AnonymousHomeFeed[Response]()
    app.extensions["searches"] = BoundedSemaphore(SEARCHES)
    app.register_blueprint(bp)


@bp.get("/home")
@login_optional
def home() -> Response:
    """Everyone's live activities."""
    page = page_request(g.args)
    if page == FIRST_PAGE and g.token is None:
        feed = cast("AnonymousHomeFeed[Response]", current_app.extensions["anonymous_home_feed"])
        return copy_response(feed.run(db=get_db(), render=json_response))
    return json_response(HomeActivities(get_db()).run(page_request=page))


@bp.get("/search")
@public
@search_limited
def search() -> Response:
    """Live activities that say it."""
    search_activities = SearchActivities(get_db(), current_app.extensions["searches"])
    return json_response(search_activities.run(term=g.args.get("term", ""), page_request=page_request(g.args)))


@bp.get("/notifications")
@login_required
def notifications() -> Response:
    """What others have written to one."""
    return json_response(NotificationsActivities(get_db()).run(user=current_user(), page_request=page_request(g.args)))


@bp.get("/@<handle:handle>")
@public
def user(handle: str) -> Response:
    """A person and their live activities."""
    return json_response(UserActivities(get_db()).run(handle=handle, page_request=page_request(g.args)))


@bp.get("/@<handle:handle>/status/<uuid:activity_uuid>")
@public
def show(handle: str, activity_uuid: UUID) -> Response:
    """An activity and its live replies."""
    page = page_request(g.args)
    return json_response(ShowActivity(get_db()).run(handle=handle, activity_uuid=activity_uuid, page_request=page))


@bp.post("")
@login_required
def create() -> Response:
    """Publish an activity."""
    body = json_object(request)
    return json_response(
        CreateActivity(get_db()).run(
            author=current_user,
            message=body.get_str("message"),
            ttl=body.get_str("ttl"),
            idempotency_key=idempotency_key(request),
        )
    )


@bp.post("/<uuid:activity_uuid>/reply")
@login_required
def reply(activity_uuid: UUID) -> Response:
    """Answer an activity."""
    body = json_object(request)
    return json_response(
        CreateReply(get_db()).run(
            author=current_user,
            activity_uuid=activity_uuid,
            message=body.get_str("message"),
            idempotency_key=idempotency_key(request),
        )
    )


@bp.delete("/<uuid:activity_uuid>")
@login_required
def delete(activity_uuid: UUID) -> Response:
    """Take back an activity of one's own."""
    return json_response(DeleteActivity(get_db()).run(author=current_user(), activity_uuid=activity_uuid))
