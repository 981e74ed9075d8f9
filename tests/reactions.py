"""Likes and reposts: what their tests have in common."""

from http import HTTPStatus
from typing import Any, NamedTuple

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import links
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


def rows_of(page: TestResponse) -> list[dict[str, Any]]:
    """Return the rows of a page, of a profile its activities."""
    assert page.status_code == HTTPStatus.OK
    return list(page.json["activities"] if isinstance(page.json, dict) else page.json)


def walk(client: FlaskClient, first: TestResponse, relation: str) -> list[dict[str, Any]]:
    """Return the rows of the page `first` and of all that follow it by `relation`, in the order of the walk."""
    page, rows = first, rows_of(first)
    while relation in links(page):
        page = client.get(links(page)[relation])
        rows += rows_of(page) if relation == "next" else reversed(rows_of(page))
    return rows
