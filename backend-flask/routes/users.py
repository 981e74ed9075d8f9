"""Users."""

from flask import Blueprint, Response, g

from lib.auth import login_required, public
from lib.db import get_db
from lib.http import json_response, page_request
from routes.current_user import current_user
from services.follows import FollowUser, Relationships, UnfollowUser, UserFollowers, UserFollowing
from services.users_short import UsersShort

bp = Blueprint("users", __name__, url_prefix="/api/users")


@bp.get("/@<handle:handle>/short")
@public
def short(handle: str) -> Response:
    """Return a user's uuid, handle and display name."""
    return json_response(UsersShort(get_db()).run(handle=handle))


@bp.put("/@<handle:handle>/follow")
@login_required
def follow(handle: str) -> Response:
    """Follow a user."""
    return json_response(FollowUser(get_db()).run(user=current_user(), handle=handle))


@bp.delete("/@<handle:handle>/follow")
@login_required
def unfollow(handle: str) -> Response:
    """Remove the current user's follow of a user."""
    return json_response(UnfollowUser(get_db()).run(user=current_user(), handle=handle))


@bp.get("/@<handle:handle>/followers")
@public
def followers(handle: str) -> Response:
    """Return the followers of a user."""
    return json_response(UserFollowers(get_db()).run(handle=handle, page_request=page_request(g.args)))


@bp.get("/@<handle:handle>/following")
@public
def following(handle: str) -> Response:
    """Return the users whom a user follows."""
    return json_response(UserFollowing(get_db()).run(handle=handle, page_request=page_request(g.args)))


@bp.get("/relationships")
@login_required
def relationships() -> Response:
    """Return the current user's relationships to the users `handles`."""
    return json_response(Relationships(get_db()).run(user=current_user, handles=g.args.get("handles", "")))
