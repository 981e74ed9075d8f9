"""The current user: a frontend learns the user of its token."""

from flask.testing import FlaskClient

from tests.conftest import SignIn
from tests.factories import Make

ME = "/api/users/me"


def test_current_user_is_the_tokens(sign_in: SignIn, make: Make) -> None:
    user, other = make.user("LinYue", display_name="Lin Yue"), make.user("other")

    response = sign_in(user).get(ME)

    assert response.status_code == 200
    assert response.json == {"uuid": str(user.uuid), "handle": "LinYue", "display_name": "Lin Yue"}
    assert response.headers["Cache-Control"] == "private, no-store"
    assert sign_in(other).get(ME).json["handle"] == "other"


def test_changed_name_is_the_current_users_at_once(sign_in: SignIn, make: Make) -> None:
    client = sign_in(make.user("lin"))
    assert client.put("/api/profile/update", json={"display_name": "Another Name"}).status_code == 200

    assert client.get(ME).json["display_name"] == "Another Name"


def test_current_user_requires_login(client: FlaskClient) -> None:
    for headers in ({}, {"Authorization": "Bearer null"}, {"Authorization": "Bearer a.b.c"}):
        response = client.get(ME, headers=headers)

        assert (response.status_code, response.json) == (401, ["generic_401"])
