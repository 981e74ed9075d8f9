"""GET /api/activities/liked: the activities that the current user likes. Other tests are in test_reactions.py."""

import pytest

from tests.conftest import SignIn, links, walk
from tests.factories import Make, User
from tests.reactions import LIKE, LIKED


def test_liked_lists_own_live_activities_last_liked_first(sign_in: SignIn, make: Make, bystander: User) -> None:
    author, reader = make.user("author"), make.user("reader")
    # The oldest activity has the newest like.
    activities = [make.activity(author, f"activity {number}", age=f"{5 - number} hours") for number in range(5)]
    for number, activity in enumerate(activities):
        make.like(activity, reader, author, age=f"{number} minutes")
    ended = make.activity(author, "ended")
    make.like(ended, reader)
    make.expire(ended)
    client = sign_in(reader)

    rows = walk(client, client.get(LIKED, query_string={"limit": 2}), "next")

    assert [LIKE.shown(row) for row in rows] == [(f"activity {number}", 2, True) for number in range(5)]
    assert {row["handle"] for row in rows} == {"author"}
    # The time is the activity's, and not the like's.
    assert rows[0]["created_at"] < rows[-1]["created_at"]
    assert [row["message"] for row in sign_in(bystander).get(LIKED).json] == ["a bystander's"]


@pytest.mark.usefixtures("bystander")
def test_deleting_the_last_row_of_a_page_keeps_its_cursor(sign_in: SignIn, make: Make) -> None:
    reader = make.user()
    activities = [make.activity(reader, f"activity {number}") for number in range(4)]
    for number, activity in enumerate(activities):
        make.like(activity, reader, age=f"{number} minutes")
    client = sign_in(reader)
    first = client.get(LIKED, query_string={"limit": 2})

    assert client.delete(LIKE.path(activities[1])).status_code == 200

    assert [row["message"] for row in client.get(links(first)["next"]).json] == ["activity 2", "activity 3"]
