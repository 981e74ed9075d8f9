"""Users."""

from flask import Blueprint, Response, g, request

from lib.auth import login_required, public
from lib.body import JSONObject, has_body, json_object
from lib.db import get_db
from lib.http import json_response, page_request
from routes.current_user import current_user
from services.blocks import BlockedUsers, BlockUser, UnblockUser
from services.current_user import CurrentUser
from services.follows import FollowUser, UnfollowUser, UserFollowers, UserFollowing
from services.mutes import MutedUsers, MuteUser, UnmuteUser
from services.relationships import Relationships
from services.suggested_users import SuggestedUsers
from services.users_short import UsersShort

bp = Blueprint("users", __name__, url_prefix="/api/users")


@bp.get("/me")
@login_required
def me() -> Response:
    """Return the current user."""
    return json_response(CurrentUser(get_db()).run(user=current_user()))


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


@bp.get("/suggested")
@login_required
def suggested() -> Response:
    """Return users whom the current user may want to follow."""
    return json_response(SuggestedUsers(get_db()).run(user=current_user()))


@bp.put("/@<handle:handle>/mute")
@login_required
def mute(handle: str) -> Response:
    """Mute a user, for the body's `ttl` where there is one."""
    body = json_object(request) if has_body(request.environ) else JSONObject({})
    return json_response(MuteUser(get_db()).run(user=current_user, handle=handle, ttl=body.get_choice("ttl")))


@bp.delete("/@<handle:handle>/mute")
@login_required
def unmute(handle: str) -> Response:
    """Remove the current user's mute of a user."""
    return json_response(UnmuteUser(get_db()).run(user=current_user(), handle=handle))


@bp.get("/muted")
@login_required
def muted() -> Response:
    """Return the users whom the current user mutes."""
    return json_response(MutedUsers(get_db()).run(user=current_user(), page_request=page_request(g.args)))


@bp.put("/@<handle:handle>/block")
@login_required
def block(handle: str) -> Response:
    """Block a user."""
    return json_response(BlockUser(get_db()).run(user=current_user(), handle=handle))


@bp.delete("/@<handle:handle>/block")
@login_required
def unblock(handle: str) -> Response:
    """Remove the current user's block of a user."""
    return json_response(UnblockUser(get_db()).run(user=current_user(), handle=handle))


@bp.get("/blocked")
@login_required
def blocked() -> Response:
    """Return the users whom the current user blocks."""
    return json_response(BlockedUsers(get_db()).run(user=current_user(), page_request=page_request(g.args)))
