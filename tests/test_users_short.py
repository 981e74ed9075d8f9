"""The short form of a user."""

from flask.testing import FlaskClient

from tests.make import Make


def test_short_user_has_uuid_handle_and_name(client: FlaskClient, make: Make) -> None:
    lin = make.user("LinYue", display_name="Lin Yue", bio="not in short")
    make.user("linyue2")

    answer = client.get("/api/users/@linyue/short")

    assert answer.status_code == 200
    assert answer.json == {"uuid": str(lin.uuid), "handle": "LinYue", "display_name": "Lin Yue"}


def test_unknown_handle_is_not_found(client: FlaskClient, make: Make) -> None:
    make.user("somebody")

    for handle in ("nobody", "", "some%25", "a%00", "a" * 31):
        answer = client.get(f"/api/users/@{handle}/short")
        assert (answer.status_code, answer.json) == (404, ["not_found"])
