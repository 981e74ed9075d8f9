"""Activities: feeds, threads, search, and writes."""

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

# One thread of a worker searches at a time.
SEARCHES = 1

bp = Blueprint("activities", __name__, url_prefix="/api/activities")


def init_app(app: Flask) -> None:
    """Create the process's cache of the home feed and its semaphore for searches, and register the routes."""
    app.extensions["anonymous_home_feed"] = AnonymousHomeFeed[Response]()
    app.extensions["searches"] = BoundedSemaphore(SEARCHES)
    app.register_blueprint(bp)


@bp.get("/home")
@login_optional
def home() -> Response:
    """Return live activities of all users."""
    page = page_request(g.args)
    if page == FIRST_PAGE and g.token is None:
        feed = cast("AnonymousHomeFeed[Response]", current_app.extensions["anonymous_home_feed"])
        return copy_response(feed.run(db=get_db(), render=json_response))
    return json_response(HomeActivities(get_db()).run(page_request=page))


@bp.get("/search")
@public
@search_limited
def search() -> Response:
    """Return live activities with all words of `term`."""
    search_activities = SearchActivities(get_db(), current_app.extensions["searches"])
    return json_response(search_activities.run(term=g.args.get("term", ""), page_request=page_request(g.args)))


@bp.get("/notifications")
@login_required
def notifications() -> Response:
    """Return replies to the current user, and mentions."""
    return json_response(NotificationsActivities(get_db()).run(user=current_user(), page_request=page_request(g.args)))


@bp.get("/@<handle:handle>")
@public
def user(handle: str) -> Response:
    """Return a user's profile and live activities."""
    return json_response(UserActivities(get_db()).run(handle=handle, page_request=page_request(g.args)))


@bp.get("/@<handle:handle>/status/<uuid:activity_uuid>")
@public
def show(handle: str, activity_uuid: UUID) -> Response:
    """Return an activity and its live replies."""
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
    """Reply to an activity."""
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
    """Delete an activity of the current user."""
    return json_response(DeleteActivity(get_db()).run(author=current_user(), activity_uuid=activity_uuid))
