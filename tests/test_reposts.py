"""GET /api/activities/@{handle}?reposts=true: a profile with reposts. Other tests are in test_reactions.py."""

import pytest
from flask.testing import FlaskClient

from tests.conftest import SignIn, links, rows_of, walk
from tests.factories import Make, User
from tests.reactions import REPOST

PROFILE = "/api/activities/@author"
WITH_REPOSTS = f"{PROFILE}?reposts=true"


def messages(client: FlaskClient, path: str = WITH_REPOSTS) -> list[str]:
    """Return the messages of the first page."""
    return [row["message"] for row in rows_of(client.get(path))]


@pytest.fixture
def author(make: Make) -> User:
    """Create a user with activities, with replies, and with reposts of others' activities and of own ones."""
    author, other = make.user("Author"), make.user("other")
    root = make.activity(other, "another's", age="5 hours")
    reply = make.activity(other, "another's reply", age="4 hours", reply_to=root)
    make.activity(other, "another's, not reposted", age="3 hours")
    make.activity(author, "own reply", age="3 hours", reply_to=root)
    reposted_reply = make.activity(author, "own reposted reply", age="3 hours", reply_to=root)
    make.activity(author, "own", age="150 minutes")
    own = make.activity(author, "own reposted", age="6 hours")
    # A state that only a COPY creates.
    newer = make.activity(author, "own reposted before", age="20 minutes")
    for activity, age in ((root, 2), (reply, 3), (reposted_reply, 1), (own, 1.5), (newer, 4)):
        make.repost(activity, author, age=f"{age} hours")
        make.repost(activity, other)
    return author


EXPECTED = [
    ("own reposted before", "Author", None),
    ("own reposted reply", "Author", "Author"),
    ("own reposted", "Author", "Author"),
    ("another's", "other", "Author"),
    ("own", "Author", None),
    ("another's reply", "other", "Author"),
]


@pytest.mark.usefixtures("bystander", "author")
def test_profile_merges_activities_and_reposts(client: FlaskClient) -> None:
    page = client.get(WITH_REPOSTS)

    assert [(row["message"], row["handle"], row["reposted_by"]) for row in rows_of(page)] == EXPECTED
    assert (page.json["profile"]["handle"], page.json["profile"]["cruds_count"]) == ("Author", 3)
    # The times are the activities'.
    assert page.json["activities"][2]["created_at"] < page.json["activities"][3]["created_at"]


@pytest.mark.usefixtures("bystander", "author")
def test_pages_of_any_size_lead_through_all_entries_both_ways(subtests: pytest.Subtests, client: FlaskClient) -> None:
    expected = [message for message, *_ in EXPECTED]

    for limit in (1, 2, 3, 5, 6):
        with subtests.test(limit=limit):
            first = client.get(PROFILE, query_string={"reposts": "true", "limit": limit})

            assert [row["message"] for row in walk(client, first, "next")] == expected
            last = first
            while "next" in links(last):
                last = client.get(links(last)["next"])
            backwards = [row["message"] for row in walk(client, last, "prev")]
            # Each page is in the feed's order, and the walk goes back page by page.
            on_last = rows_of(last)
            assert backwards[: len(on_last)] == expected[-len(on_last) :]
            assert backwards[len(on_last) :] == expected[: -len(on_last)][::-1]


@pytest.mark.usefixtures("bystander", "author")
def test_parameter_is_true_or_false_and_kept_by_links(client: FlaskClient, subtests: pytest.Subtests) -> None:
    plain = client.get(PROFILE)
    assert [row["message"] for row in rows_of(plain)] == ["own reposted before", "own", "own reposted"]
    assert not any("reposted_by" in row for row in rows_of(plain))
    assert client.get(f"{PROFILE}?reposts=false").data == plain.data
    for value in ("", "True", "1", "yes", "true "):
        with subtests.test(value):
            response = client.get(PROFILE, query_string={"reposts": value})
            assert (response.status_code, response.json) == (400, ["reposts_invalid"])
    # Other feeds ignore the parameter. Of a repeated one the first counts.
    assert client.get("/api/activities/home?reposts=maybe").status_code == 200
    assert client.get(f"{PROFILE}?reposts=false&reposts=true").data == plain.data
    page = client.get(f"{PROFILE}?limit=2&reposts=true")
    assert all("reposts=true" in link and "limit=2" in link for link in page.headers["Link"].split(", "))
    assert client.get("/api/activities/@missing?reposts=true").json == ["not_found"]


@pytest.mark.usefixtures("bystander", "author")
def test_repost_moves_an_own_activity_and_its_end_moves_it_back(sign_in: SignIn, make: Make, author: User) -> None:
    client, own = sign_in(author), make.activity(author, "moves", age="1 week", ttl=None)
    before = [message for message, *_ in EXPECTED]
    assert messages(client) == [*before, "moves"]

    client.put(REPOST.path(own))
    assert messages(client) == ["moves", *before]
    assert messages(client, PROFILE)[-1] == "moves"
    client.delete(REPOST.path(own))
    assert messages(client) == [*before, "moves"]
    client.put(REPOST.path(own))
    client.delete(f"/api/activities/{own.uuid}")
    assert messages(client) == before


@pytest.mark.usefixtures("bystander")
def test_page_continues_after_a_scan_without_entries(client: FlaskClient, make: Make) -> None:
    author, other = make.user("author"), make.user("other")
    make.activity(author, "own", age="2 days", ttl=None)
    make.repost(make.activity(other, "another's", age="2 days", ttl=None), author, age="3 hours")
    # 1,000 reposts of expired activities fill a scan, and one more is for the next one.
    crowd = """
        WITH expired AS (
            INSERT INTO activities (user_uuid, message, created_at, expires_at)
            SELECT %s, 'expired', now() - interval '1 day', now() + interval '1 day' FROM generate_series(1, 1001)
            RETURNING uuid
        )
        INSERT INTO reposts (activity_uuid, user_uuid) SELECT uuid, %s FROM expired
    """
    with make.owner.transaction():
        make.owner.execute("ALTER TABLE reposts DISABLE TRIGGER reposts_added")
        make.owner.execute(crowd, [other.uuid, author.uuid])
        make.owner.execute("ALTER TABLE reposts ENABLE TRIGGER reposts_added")
        make.owner.execute("UPDATE activities SET expires_at = now() WHERE message = 'expired'")

    first = client.get(WITH_REPOSTS)

    assert (rows_of(first), set(links(first))) == ([], {"next"})
    second = client.get(links(first)["next"])
    assert [row["message"] for row in rows_of(second)] == ["another's", "own"]
    assert rows_of(client.get(links(second)["prev"])) == []
