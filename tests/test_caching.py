"""What a client need not be sent again, and what nobody may keep."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import SignIn, links
from tests.factories import Make, User
from tests.routes import PUBLIC, SIGNED_IN, World
from tests.tokens import bearer

READS = sorted(rule for method, rule in PUBLIC | SIGNED_IN.keys() if method == "GET")


@pytest.fixture
def world(make: Make, bystander: User) -> World:
    """Somebody, an activity and a conversation."""
    lin, kofi = make.user("LinYue"), make.user("kofi")
    return World(lin, kofi, kofi, make.activity(lin), make.conversation(lin, kofi, "hello"), bystander)


def read(app: Flask, world: World, rule: str) -> tuple[FlaskClient, str, dict[str, str]]:
    """A client, a path and headers with which a read answers."""
    return app.test_client(), f"{world.path(rule)}?term=hello", bearer(world.owner.cognito_user_id)


@pytest.mark.parametrize("rule", READS)
def test_a_read_is_not_sent_again_to_whoever_has_it(app: Flask, world: World, rule: str) -> None:
    client, path, headers = read(app, world, rule)
    first = client.get(path, headers=headers)
    tag = first.headers["ETag"]

    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(path, headers={**headers, "If-None-Match": given})
        assert (again.status_code, again.data) == (304, b"")
        kept = ("ETag", "Cache-Control", "Vary")
        assert [again.headers.getlist(name) for name in kept] == [first.headers.getlist(name) for name in kept]
        assert client.head(path, headers={**headers, "If-None-Match": given}).status_code == 304
    for given in ('"other"', tag.upper(), ""):
        again = client.get(path, headers={**headers, "If-None-Match": given})
        assert (again.status_code, again.data) == (200, first.data)


def test_conditions_that_are_for_files_are_passed_over(client: FlaskClient, make: Make) -> None:
    make.activity(make.user())
    first = client.get("/api/activities/home")

    for name, value in (
        *(("If-Match", '"other"'), ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")),
        *(("If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Range", "bytes=0-1")),
    ):
        answer = client.get("/api/activities/home", headers={name: value})
        assert (answer.status_code, answer.data) == (200, first.data)
        both = client.get("/api/activities/home", headers={name: value, "If-None-Match": first.headers["ETag"]})
        assert (both.status_code, both.data) == (304, b"")


def test_what_has_changed_is_sent_again(client: FlaskClient, make: Make) -> None:
    author = make.user()
    activity = make.activity(author, ttl=None)
    path = f"/api/activities/@{author.handle}/status/{activity.uuid}"
    tag = client.get(path).headers["ETag"]
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304

    make.activity(make.user(), reply_to=activity, ttl=None)
    changed = client.get(path, headers={"If-None-Match": tag})
    make.owner.execute("UPDATE activities SET expires_at = now()")
    gone = client.get(path, headers={"If-None-Match": changed.headers["ETag"]})

    assert (changed.status_code, len(changed.json["replies"])) == (200, 1)
    assert (gone.status_code, gone.json) == (404, ["not_found"])
    assert "ETag" not in gone.headers


def test_a_page_that_is_not_sent_again_still_says_where_to_go_on(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for _ in range(3):
        make.activity(author)
    first = client.get("/api/activities/home?limit=2")

    again = client.get("/api/activities/home?limit=2", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, links(again)) == (304, links(first))
    assert "next" in links(again)


@pytest.mark.parametrize("rule", READS)
def test_what_belongs_to_one_person_is_kept_by_nobody(app: Flask, world: World, rule: str) -> None:
    client, path, headers = read(app, world, rule)
    signed_in, visitor = client.get(path, headers=headers), client.get(path)

    personal = ("GET", rule) in SIGNED_IN
    assert visitor.headers["Cache-Control"] == ("private, no-store" if personal else "no-cache")
    # The home feed is the same for everyone. Who is signed in still gets it from no cache.
    by_person = personal or rule == "/api/activities/home"
    assert signed_in.headers["Cache-Control"] == ("private, no-store" if by_person else "no-cache")
    if not personal:
        told_apart = {"Origin", "Authorization"} if by_person else {"Origin"}
        assert set(visitor.headers.getlist("Vary")) == told_apart


def test_no_write_and_no_failure_is_kept(sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())
    written = client.post("/api/activities", json={"message": "hello", "ttl": "1-day"})
    failed = [client.post("/api/activities", json={}), client.get("/nope"), client.get("/api/activities/@nobody")]

    for answer in (written, *failed):
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert "ETag" not in answer.headers
