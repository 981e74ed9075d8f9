"""Likes and reposts: what their tests have in common."""

from typing import Any, NamedTuple

from tests.factories import Activity

LIKED = "/api/activities/liked"


class Reaction(NamedTuple):
    """A reaction's word in paths, the table of its rows, and the member of an activity for an authenticated reader."""

    word: str
    table: str
    member: str

    def path(self, activity: Activity) -> str:
        """Return the path of the current user's reaction to an activity."""
        return f"/api/activities/{activity.uuid}/{self.word}"

    def users_path(self, activity: Activity) -> str:
        """Return the path of the users with this reaction to an activity."""
        return f"/api/activities/{activity.uuid}/{self.table}"

    def shown(self, activity: dict[str, Any]) -> tuple[str, int, bool]:
        """Return an activity's message, and what its JSON tells of this reaction."""
        return activity["message"], activity[f"{self.table}_count"], activity[self.member]


LIKE, REPOST = Reaction("like", "likes", "liked"), Reaction("repost", "reposts", "reposted")
REACTIONS = (LIKE, REPOST)
