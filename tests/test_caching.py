"""HTTP caching: ETags, 304 responses, Cache-Control and Vary."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from lib.cache import MAX_AGE_SECONDS
from lib.cognito import Cognito
from tests.clock import Clock
from tests.conftest import SignIn, links
from tests.factories import Make, User
from tests.routes import EVERY, OPTIONAL, SIGNED_IN, World
from tests.tokens import bearer

# A user may have one export an hour, so that no request repeats it.
READS = sorted(rule for method, rule in EVERY if method == "GET" and rule != "/api/account/export")


@pytest.fixture
def world(make: Make, bystander: User, monkeypatch: pytest.MonkeyPatch) -> World:
    """Create two users, an activity and a conversation."""
    monkeypatch.setattr(Cognito, "email", lambda *_: None)
    lin, kofi = make.user("LinYue"), make.user("kofi")
    return World(lin, kofi, kofi, make.activity(lin), make.conversation(lin, kofi, "hello"), bystander)


def read(app: Flask, world: World, rule: str) -> tuple[FlaskClient, str, dict[str, str]]:
    """Return client, path and headers for a GET that succeeds."""
    return app.test_client(), f"{world.path(rule)}?term=hello&handles=kofi", bearer(world.owner.cognito_user_id)


def test_matching_etag_gives_304(subtests: pytest.Subtests, app: Flask, world: World) -> None:
    for rule in READS:
        with subtests.test(rule):
            client, path, headers = read(app, world, rule)
            first = client.get(path, headers=headers)
            tag = first.headers["ETag"]

            for etags in (tag, f"W/{tag}", f'"other", {tag}', "*"):
                second = client.get(path, headers={**headers, "If-None-Match": etags})
                assert (second.status_code, second.data) == (304, b"")
                names = ("ETag", "Cache-Control", "Vary")
                assert [second.headers.getlist(name) for name in names] == [
                    first.headers.getlist(name) for name in names
                ]
                assert client.head(path, headers={**headers, "If-None-Match": etags}).status_code == 304
            for etags in ('"other"', tag.upper(), ""):
                second = client.get(path, headers={**headers, "If-None-Match": etags})
                assert (second.status_code, second.data) == (200, first.data)


def test_conditions_for_files_are_ignored(client: FlaskClient, make: Make) -> None:
    make.activity(make.user())
    first = client.get("/api/activities/home")

    for name, value in (
        *(("If-Match", '"other"'), ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")),
        *(("If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Range", "bytes=0-1")),
    ):
        response = client.get("/api/activities/home", headers={name: value})
        assert (response.status_code, response.data) == (200, first.data)
        both = client.get("/api/activities/home", headers={name: value, "If-None-Match": first.headers["ETag"]})
        assert (both.status_code, both.data) == (304, b"")


def test_changed_representation_is_sent_with_a_new_etag(client: FlaskClient, make: Make, cache_clock: Clock) -> None:
    author = make.user()
    activity = make.activity(author, ttl=None)
    path = f"/api/activities/@{author.handle}/status/{activity.uuid}"
    tag = client.get(path).headers["ETag"]
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304

    make.activity(make.user(), reply_to=activity, ttl=None)
    cache_clock.now += MAX_AGE_SECONDS
    changed = client.get(path, headers={"If-None-Match": tag})
    make.owner.execute("UPDATE activities SET expires_at = now()")
    cache_clock.now += MAX_AGE_SECONDS
    gone = client.get(path, headers={"If-None-Match": changed.headers["ETag"]})

    assert (changed.status_code, len(changed.json["replies"])) == (200, 1)
    assert (gone.status_code, gone.json) == (404, ["not_found"])
    assert "ETag" not in gone.headers


def test_304_keeps_link_header(client: FlaskClient, make: Make) -> None:
    author = make.user()
    for _ in range(3):
        make.activity(author)
    first = client.get("/api/activities/home?limit=2")

    again = client.get("/api/activities/home?limit=2", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, links(again)) == (304, links(first))
    assert "next" in links(again)


def test_user_specific_response_is_not_stored(subtests: pytest.Subtests, app: Flask, world: World) -> None:
    for rule in READS:
        with subtests.test(rule):
            client, path, headers = read(app, world, rule)
            authenticated, anonymous = client.get(path, headers=headers), client.get(path)

            is_user_specific = ("GET", rule) in SIGNED_IN
            assert anonymous.headers["Cache-Control"] == ("private, no-store" if is_user_specific else "no-cache")
            depends_on_user = is_user_specific or ("GET", rule) in OPTIONAL
            assert authenticated.headers["Cache-Control"] == ("private, no-store" if depends_on_user else "no-cache")
            if not is_user_specific:
                vary = {"Origin", "Authorization"} if depends_on_user else {"Origin"}
                assert set(anonymous.headers.getlist("Vary")) == vary


def test_writes_and_errors_are_not_stored(sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user())
    created = client.post("/api/activities", json={"message": "hello", "ttl": "1-day"})
    failures = [client.post("/api/activities", json={}), client.get("/nope"), client.get("/api/activities/@missing")]

    for response in (created, *failures):
        assert response.headers["Cache-Control"] == "private, no-store"
        assert "ETag" not in response.headers
