"""Updating the profile: display name and bio."""

import pytest
from werkzeug.test import TestResponse

from tests.conftest import SignIn
from tests.factories import Make, User

PATH = "/api/profile/update"
NO_TEXT: list[object] = [1, True, [], ["new"], {}]


@pytest.fixture
def lin(make: Make) -> User:
    """Create the user whose profile is updated."""
    return make.user("LinYue", display_name="Lin", bio="On call.")


def profile(sign_in: SignIn, user: User) -> tuple[str, str | None]:
    """Return name and bio as every client sees them."""
    public = sign_in(user).get(f"/api/activities/@{user.handle}").json["profile"]
    return public["display_name"], public["bio"]


@pytest.mark.usefixtures("bystander")
def test_update_changes_the_given_fields_only(subtests: pytest.Subtests, sign_in: SignIn, make: Make) -> None:
    for method in ("PUT", "POST"):
        for body, bio in (
            ({}, "On call."),
            ({"bio": None}, None),
            ({"bio": ""}, ""),
            ({"bio": "é" * 160}, "é" * 160),
            ({"bio": " \n", "handle": "kofi", "uuid": "x"}, " \n"),
        ):
            user = make.user(display_name="Lin", bio="On call.")
            with subtests.test(method, body=body):
                response = sign_in(user).open(PATH, method=method, json={"display_name": "Lin Yue", **body})

                assert response.status_code == 200
                assert response.json == {"uuid": str(user.uuid), "handle": user.handle, "display_name": "Lin Yue"}
                assert profile(sign_in, user) == ("Lin Yue", bio)


@pytest.mark.usefixtures("bystander")
def test_display_name_of_up_to_50_code_points_is_stored_unchanged(
    subtests: pytest.Subtests, sign_in: SignIn, lin: User
) -> None:
    for name in ("x", "é" * 50, " x ", "👩‍👩‍👧‍👦"):
        with subtests.test(name):
            assert sign_in(lin).put(PATH, json={"display_name": name}).json["display_name"] == name


def is_refused(response: TestResponse, status: int, *codes: str) -> bool:
    """Return whether the response has this status and these codes."""
    return (response.status_code, response.json) == (status, [*codes])


@pytest.mark.usefixtures("bystander")
def test_invalid_profile_changes_nothing(sign_in: SignIn, lin: User) -> None:
    client = sign_in(lin)

    for name in ("", " ", "\u3000\n", None, *NO_TEXT):
        assert is_refused(client.put(PATH, json={"display_name": name, "bio": "new"}), 422, "display_name_blank")
    assert is_refused(client.put(PATH, json={"bio": "new"}), 422, "display_name_blank")
    assert is_refused(client.put(PATH, json={"display_name": "é" * 51}), 422, "display_name_exceed_max_chars")
    for bio in ("é" * 161, " " * 161):
        assert is_refused(client.put(PATH, json={"display_name": "New", "bio": bio}), 422, "bio_exceed_max_chars")
    both = {"bio": "é" * 161, "display_name": ""}
    assert is_refused(client.put(PATH, json=both), 422, "display_name_blank", "bio_exceed_max_chars")
    for wrong in NO_TEXT:
        assert is_refused(client.put(PATH, json={"display_name": "New", "bio": wrong}), 400, "json_invalid")
        # A value of the wrong type is reported before broken rules.
        assert is_refused(client.put(PATH, json={"display_name": "", "bio": wrong}), 400, "json_invalid")
    assert profile(sign_in, lin) == ("Lin", "On call.")
