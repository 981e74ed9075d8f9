"""The short form of a user."""

from flask.testing import FlaskClient

from tests.factories import Make


def test_short_user_has_uuid_handle_and_name(client: FlaskClient, make: Make) -> None:
    lin = make.user("LinYue", display_name="Lin Yue", bio="not in short")
    make.user("linyue2")

    response = client.get("/api/users/@linyue/short")

    assert response.status_code == 200
    assert response.json == {"uuid": str(lin.uuid), "handle": "LinYue", "display_name": "Lin Yue"}


def test_unknown_handle_is_not_found(client: FlaskClient, make: Make) -> None:
    make.user("somebody")

    for handle in ("nobody", "", "some%25", "a%00", "a" * 31):
        response = client.get(f"/api/users/@{handle}/short")
        assert (response.status_code, response.json) == (404, ["not_found"])
