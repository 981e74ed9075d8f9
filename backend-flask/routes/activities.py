"""Activities: feeds, threads, search, and writes."""

from collections.abc import Callable, Hashable
from threading import BoundedSemaphore
from typing import cast
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app, g, request

from lib.auth import login_optional, login_required, public, sends_token
from lib.body import json_object
from lib.db import Db, get_db
from lib.http import copy_response, has_flag, idempotency_key, json_response, link_parameters, page_request
from lib.pagination import FIRST_PAGE, Page, PageRequest
from lib.rate_limits import search_limited
from routes.current_user import current_user, for_current_user, reader
from services.anonymous_pages import AnonymousPages
from services.create_activity import CreateActivity
from services.create_reply import CreateReply
from services.delete_activity import DeleteActivity
from services.following_activities import FollowingActivities
from services.home_activities import HomeActivities
from services.likes import ActivityLikes, LikeActivity, LikedActivities, UnlikeActivity
from services.notifications_activities import NotificationsActivities
from services.reposts import ActivityReposts, RepostActivity, UnrepostActivity
from services.search_activities import SearchActivities
from services.show_activity import ShowActivity
from services.tagged_activities import TaggedActivities
from services.user_activities import UserActivities

# One thread of a worker searches at a time.
SEARCHES = 1

bp = Blueprint("activities", __name__, url_prefix="/api/activities")


def init_app(app: Flask) -> None:
    """Create the process's cache of anonymous first pages and its semaphore for searches, and register the routes."""
    app.extensions["anonymous_pages"] = AnonymousPages[Response]()
    app.extensions["searches"] = BoundedSemaphore(SEARCHES)
    app.register_blueprint(bp)


def page_response(key: Hashable, requested: PageRequest, read: Callable[[Db], Page]) -> Response:
    """Return the response with the page that `read` returns: an anonymous first page from the process's cache."""
    db = get_db()
    parameters = link_parameters(g.args)
    if not sends_token(request) and requested == FIRST_PAGE and parameters in ({}, {"reposts": "true"}):
        pages = cast("AnonymousPages[Response]", current_app.extensions["anonymous_pages"])
        # A response has the parameters in its `Link`.
        key = (key, bool(parameters))
        return copy_response(pages.run(db=db, key=key, read=lambda: read(db), render=json_response))
    return json_response(read(db))


@bp.get("/home")
@login_optional
def home() -> Response:
    """Return live activities of all users."""
    page = page_request(g.args)
    # All anonymous requests share this page, so a read of the primary costs less than a standby's, which is not kept.
    return page_response(
        "home",
        page,
        lambda db: HomeActivities(db if g.token else db.primary).run(page_request=page, reader=reader()),
    )


@bp.get("/following")
@login_required
def following() -> Response:
    """Return live activities of the current user and of those whom the current user follows."""
    page, following_activities = page_request(g.args), FollowingActivities(get_db())
    return json_response(for_current_user(lambda sub: following_activities.run(reader=sub, page_request=page)))


@bp.get("/search")
@login_optional
@search_limited
def search() -> Response:
    """Return live activities with all words of `term`."""
    search_activities = SearchActivities(get_db(), current_app.extensions["searches"])
    term, page = g.args.get("term", ""), page_request(g.args)
    return json_response(search_activities.run(term=term, page_request=page, reader=reader()))


@bp.get("/tagged/<tag>")
@login_optional
def tagged(tag: str) -> Response:
    """Return live activities with a hashtag."""
    page = page_request(g.args)
    return page_response(
        ("tagged", tag),
        page,
        lambda db: TaggedActivities(db).run(tag=tag, page_request=page, reader=reader()),
    )


@bp.get("/notifications")
@login_required
def notifications() -> Response:
    """Return replies to the current user, and mentions."""
    page, notifications_activities = page_request(g.args), NotificationsActivities(get_db())
    return json_response(for_current_user(lambda sub: notifications_activities.run(reader=sub, page_request=page)))


@bp.get("/liked")
@login_required
def liked() -> Response:
    """Return the live activities that the current user likes."""
    return json_response(LikedActivities(get_db()).run(user=current_user(), page_request=page_request(g.args)))


@bp.get("/@<handle:handle>")
@login_optional
def user(handle: str) -> Response:
    """Return a user's profile and live activities, with `reposts=true` also what the user reposted."""
    page, has_reposts = page_request(g.args), has_flag(g.args, "reposts")
    return page_response(
        ("user", handle.lower()),
        page,
        lambda db: UserActivities(db).run(handle=handle, page_request=page, has_reposts=has_reposts, reader=reader()),
    )


@bp.get("/@<handle:handle>/status/<uuid:activity_uuid>")
@login_optional
def show(handle: str, activity_uuid: UUID) -> Response:
    """Return an activity and its live replies."""
    page = page_request(g.args)
    return page_response(
        ("show", handle.lower(), activity_uuid),
        page,
        lambda db: ShowActivity(db).run(handle=handle, activity_uuid=activity_uuid, page_request=page, reader=reader()),
    )


@bp.post("")
@login_required
def create() -> Response:
    """Publish an activity."""
    body = json_object(request)
    message, ttl, key = body.get_str("message"), body.get_str("ttl"), idempotency_key(request)
    create_activity = CreateActivity(get_db())
    return json_response(
        for_current_user(lambda sub: create_activity.run(reader=sub, message=message, ttl=ttl, idempotency_key=key))
    )


@bp.post("/<uuid:activity_uuid>/reply")
@login_required
def reply(activity_uuid: UUID) -> Response:
    """Reply to an activity."""
    message, key, create_reply = (
        json_object(request).get_str("message"),
        idempotency_key(request),
        CreateReply(get_db()),
    )
    return json_response(
        for_current_user(
            lambda sub: create_reply.run(reader=sub, activity_uuid=activity_uuid, message=message, idempotency_key=key)
        )
    )


@bp.delete("/<uuid:activity_uuid>")
@login_required
def delete(activity_uuid: UUID) -> Response:
    """Delete an activity of the current user."""
    return json_response(DeleteActivity(get_db()).run(author=current_user(), activity_uuid=activity_uuid))


@bp.put("/<uuid:activity_uuid>/like")
@login_required
def like(activity_uuid: UUID) -> Response:
    """Like an activity."""
    like_activity = LikeActivity(get_db())
    return json_response(for_current_user(lambda sub: like_activity.run(reader=sub, activity_uuid=activity_uuid)))


@bp.delete("/<uuid:activity_uuid>/like")
@login_required
def unlike(activity_uuid: UUID) -> Response:
    """Remove the current user's like of an activity."""
    unlike_activity = UnlikeActivity(get_db())
    return json_response(for_current_user(lambda sub: unlike_activity.run(reader=sub, activity_uuid=activity_uuid)))


@bp.get("/<uuid:activity_uuid>/likes")
@public
def likes(activity_uuid: UUID) -> Response:
    """Return the users who like an activity."""
    return json_response(ActivityLikes(get_db()).run(activity_uuid=activity_uuid, page_request=page_request(g.args)))


@bp.put("/<uuid:activity_uuid>/repost")
@login_required
def repost(activity_uuid: UUID) -> Response:
    """Repost an activity."""
    repost_activity = RepostActivity(get_db())
    return json_response(for_current_user(lambda sub: repost_activity.run(reader=sub, activity_uuid=activity_uuid)))


@bp.delete("/<uuid:activity_uuid>/repost")
@login_required
def unrepost(activity_uuid: UUID) -> Response:
    """Remove the current user's repost of an activity."""
    unrepost_activity = UnrepostActivity(get_db())
    return json_response(for_current_user(lambda sub: unrepost_activity.run(reader=sub, activity_uuid=activity_uuid)))


@bp.get("/<uuid:activity_uuid>/reposts")
@public
def reposts(activity_uuid: UUID) -> Response:
    """Return the users who reposted an activity."""
    return json_response(ActivityReposts(get_db()).run(activity_uuid=activity_uuid, page_request=page_request(g.args)))
