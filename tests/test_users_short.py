"""A person in short."""

from flask.testing import FlaskClient

from tests.factories import Make


def test_a_person_in_short(client: FlaskClient, make: Make) -> None:
    lin = make.user("LinYue", display_name="Lin Yue", bio="not in short")
    make.user("linyue2")

    answer = client.get("/api/users/@linyue/short")

    assert answer.status_code == 200
    assert answer.json == {"uuid": str(lin.uuid), "handle": "LinYue", "display_name": "Lin Yue"}


def test_nobody_in_short_is_not_found(client: FlaskClient, make: Make) -> None:
    make.user("somebody")

    for handle in ("nobody", "", "some%25", "a%00", "a" * 31):
        answer = client.get(f"/api/users/@{handle}/short")
        assert (answer.status_code, answer.json) == (404, ["not_found"])
