"""Every route: its path in a small world, and the statuses of the users in it."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection

from tests.factories import Activity, User, belongings


@dataclass(frozen=True)
class World:
    """The rows that requests are about: the owner's activity, and the conversation of owner and member."""

    owner: User
    member: User
    stranger: User
    activity: Activity
    group: UUID
    bystander: User
    # A user whom owner and member block.
    blocked: User | None = None

    def path(self, rule: str) -> str:
        """Return the path of a rule for the owner's rows.

        A follow, a mute and a block are of the member, since the owner also calls these.
        """
        handle = self.member.handle if rule.endswith(("/follow", "/mute", "/block")) else self.owner.handle
        return (
            rule.replace("<handle:handle>", handle)
            .replace("<uuid:activity_uuid>", str(self.activity.uuid))
            .replace("<uuid:message_group_uuid>", str(self.group))
            .replace("<name>", "app.js" if rule.startswith("/web/") else "start.js")
            # A digest of no version.
            .replace("<digest>", "0" * 16)
            .replace("<tag>", "owner")
        )

    def rows(self, owner: Connection) -> list[object]:
        """Return the rows of all users."""
        return [belongings(owner, person) for person in (self.owner, self.member, self.stranger, self.bystander)]


def encoded(part: bytes) -> str:
    """Return base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


class Row(NamedTuple):
    """The status of a route for each user who is signed in, and the body of the request."""

    stranger: int
    blocked: int
    member: int
    owner: int
    body: Callable[[World], dict[str, Any]] = lambda _: {}


def a_message(world: World) -> dict[str, Any]:
    """Return the body of a route that takes a message."""
    return {"message": "hello", "ttl": "1-hour", "message_group_uuid": str(world.group)}


def a_name(_: World) -> dict[str, Any]:
    """Return the body of a profile."""
    return {"display_name": "Another Name"}


def a_time(_: World) -> dict[str, Any]:
    """Return the body of a route that moves a read marker."""
    return {"until": "2026-01-01T00:00:00+00:00"}


def a_report(world: World) -> dict[str, Any]:
    """Return the body of a route that takes a report."""
    return {"activity_uuid": str(world.activity.uuid), "category": "spam", "comment": "not nice"}


def a_handle(world: World) -> dict[str, Any]:
    """Return the body of a route that deletes the owner."""
    return {"handle": world.owner.handle}


# The routes that respond to an anonymous client too, and have more in the response to an authenticated user.
OPTIONAL = {
    ("GET", "/api/activities/home"),
    ("GET", "/api/activities/search"),
    ("GET", "/api/activities/tagged/<tag>"),
    ("GET", "/api/activities/@<handle:handle>"),
    ("GET", "/api/activities/@<handle:handle>/status/<uuid:activity_uuid>"),
}
# The page's paths that read no database.
PAGES = (
    *("/", "/@<handle:handle>", "/search", "/tags/<tag>", "/notifications"),
    *("/account", "/messages", "/messages/<uuid:message_group_uuid>", "/messages/@<handle:handle>"),
)
# The routes without authentication.
PUBLIC = {
    ("GET", "/api/health-check"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/api/activities/<uuid:activity_uuid>/likes"),
    ("GET", "/api/activities/<uuid:activity_uuid>/reposts"),
    ("GET", "/api/trends"),
    ("GET", "/api/users/@<handle:handle>/short"),
    ("GET", "/api/users/@<handle:handle>/followers"),
    ("GET", "/api/users/@<handle:handle>/following"),
    *(("GET", rule) for rule in PAGES),
    ("GET", "/@<handle:handle>/status/<uuid:activity_uuid>"),
    ("GET", "/web/<digest>/<name>"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/<name>"),
}
SIGNED_IN = {
    ("GET", "/api/activities/liked"): Row(200, 200, 200, 200),
    ("PUT", "/api/activities/<uuid:activity_uuid>/like"): Row(200, 404, 200, 200),
    ("DELETE", "/api/activities/<uuid:activity_uuid>/like"): Row(200, 404, 200, 200),
    ("PUT", "/api/activities/<uuid:activity_uuid>/repost"): Row(200, 404, 200, 200),
    ("DELETE", "/api/activities/<uuid:activity_uuid>/repost"): Row(200, 404, 200, 200),
    ("GET", "/api/activities/following"): Row(200, 200, 200, 200),
    # A request without `handles` reads nothing.
    ("GET", "/api/users/relationships"): Row(422, 422, 422, 422),
    ("PUT", "/api/users/@<handle:handle>/follow"): Row(200, 404, 422, 200),
    ("DELETE", "/api/users/@<handle:handle>/follow"): Row(200, 200, 422, 200),
    ("PUT", "/api/users/@<handle:handle>/mute"): Row(200, 200, 422, 200),
    ("DELETE", "/api/users/@<handle:handle>/mute"): Row(200, 200, 422, 200),
    ("PUT", "/api/users/@<handle:handle>/block"): Row(200, 200, 422, 200),
    ("DELETE", "/api/users/@<handle:handle>/block"): Row(200, 200, 422, 200),
    ("GET", "/api/users/me"): Row(200, 200, 200, 200),
    ("GET", "/api/users/suggested"): Row(200, 200, 200, 200),
    ("GET", "/api/users/muted"): Row(200, 200, 200, 200),
    ("GET", "/api/users/blocked"): Row(200, 200, 200, 200),
    ("GET", "/api/activities/notifications"): Row(200, 200, 200, 200),
    ("GET", "/api/notifications"): Row(200, 200, 200, 200),
    ("GET", "/api/notifications/unread"): Row(200, 200, 200, 200),
    ("PUT", "/api/notifications/read"): Row(200, 200, 200, 200, a_time),
    ("PUT", "/api/messages/<uuid:message_group_uuid>/read"): Row(404, 404, 200, 200, a_time),
    ("POST", "/api/activities"): Row(200, 200, 200, 200, a_message),
    ("POST", "/api/activities/<uuid:activity_uuid>/reply"): Row(200, 404, 200, 200, a_message),
    ("DELETE", "/api/activities/<uuid:activity_uuid>"): Row(404, 404, 404, 200),
    ("PUT", "/api/profile/update"): Row(200, 200, 200, 200, a_name),
    ("POST", "/api/profile/update"): Row(200, 200, 200, 200, a_name),
    ("GET", "/api/message_groups"): Row(200, 200, 200, 200),
    ("GET", "/api/messages/<uuid:message_group_uuid>"): Row(404, 404, 200, 200),
    ("POST", "/api/messages"): Row(404, 404, 200, 200, a_message),
    ("POST", "/api/reports"): Row(200, 200, 200, 200, a_report),
    ("GET", "/api/account"): Row(200, 200, 200, 200),
    ("GET", "/api/account/export"): Row(200, 200, 200, 200),
    # The tests' Cognito is away.
    ("DELETE", "/api/account"): Row(422, 422, 422, 503, a_handle),
}
EVERY = OPTIONAL | PUBLIC | SIGNED_IN.keys()
