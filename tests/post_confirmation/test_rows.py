"""The row of a user after sign-up."""

import re
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from harness.tls_postgres import TlsPostgres
from harness.waiting import wait_until
from tests.lambda_runtime import Answer, Lambda
from tests.post_confirmation.scene import LIN, SUB, event, people

pytestmark = pytest.mark.slow

WAITS = "SELECT FROM pg_locks WHERE NOT granted"


@pytest.mark.usefixtures("bystander")
def test_sign_up_creates_a_row(warm: Lambda, owner: psycopg.Connection) -> None:
    assert warm.invoke(event()) == Answer("response", event())

    assert people(owner) == [("LinYue", "Lin Yue", "lin@example.com", SUB)]
    record = warm.told()
    assert (record["trigger"], record["outcome"], record["level"]) == (
        "PostConfirmation_ConfirmSignUp",
        "created",
        "info",
    )
    assert re.fullmatch("[0-9a-f-]{36}", record["request_id"])


@pytest.mark.usefixtures("bystander")
def test_replay_changes_nothing_even_after_a_profile_update(warm: Lambda, owner: psycopg.Connection) -> None:
    warm.invoke(event())
    owner.execute("UPDATE users SET display_name = 'Yue', handle = 'yue' WHERE cognito_user_id = %s", [SUB])
    (before,) = owner.execute("SELECT users::text FROM users WHERE cognito_user_id = %s", [SUB]).fetchall()

    for _ in range(2):
        assert warm.invoke(event()) == Answer("response", event())
        assert warm.told()["outcome"] == "present"

    assert owner.execute("SELECT users::text FROM users WHERE cognito_user_id = %s", [SUB]).fetchall() == [before]
    assert len(people(owner)) == 1


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("trigger", ["PostConfirmation_ConfirmForgotPassword", "PostAuthentication_Authentication"])
def test_another_trigger_changes_nothing(warm: Lambda, owner: psycopg.Connection, trigger: str) -> None:
    assert warm.invoke(event(trigger)) == Answer("response", event(trigger))

    assert people(owner) == []
    assert (warm.told()["outcome"], warm.told()["trigger"]) == ("ignored", trigger)


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("wanted", ["LinYue", "LINYUE"])
def test_taken_handle_gets_a_suffix(
    warm: Lambda, owner: psycopg.Connection, postgres: TlsPostgres, wanted: str
) -> None:
    warm.invoke(event())
    other = LIN | {"sub": "another", "preferred_username": wanted}

    assert warm.invoke(event(**other)) == Answer("response", event(**other))

    first, (handle, *rest) = people(owner)
    assert first == ("LinYue", "Lin Yue", "lin@example.com", SUB)
    assert re.fullmatch(f"{wanted}_[0-9a-f]{{4}}", str(handle))
    assert rest == ["Lin Yue", "lin@example.com", "another"]
    assert warm.told()["outcome"] == "handle_taken"
    assert wanted not in postgres.log()


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        *(("x" * 30, "x" * 30), ("x" * 31, "x" * 25 + "_HHHH"), ("lin yue", "linyue_HHHH"), ("☁️", "user_HHHH")),
        *(("'; DROP TABLE users; --", "DROPTABLEusers_HHHH"), ("lin\0", "lin_HHHH"), ("\ud800", "user_HHHH")),
        *(("%(email)s", "emails_HHHH"), ("", "user_HHHH"), (None, "user_HHHH")),
        # The handles of deleted users.
        *(
            ("deleted_1a2b3c4d", "_deleted_1a2b3c4d_HHHH"),
            ("Deleted_me", "_Deleted_me_HHHH"),
            ("DELETED_", "_DELETED__HHHH"),
        ),
        *(("deleted!", "_deleted_HHHH"), ("deleted", "deleted"), ("undeleted_", "undeleted_")),
    ],
)
def test_invalid_handle_gets_a_suffix(warm: Lambda, owner: psycopg.Connection, wanted: str | None, given: str) -> None:
    attributes = {"sub": SUB} | ({"preferred_username": wanted} if wanted is not None else {})

    assert warm.invoke(event(**attributes)).how == "response"

    ((handle, name, email, sub),) = people(owner)
    assert re.fullmatch(given.replace("HHHH", "[0-9a-f]{4}"), str(handle))
    assert (name, email, sub) == (handle, None, SUB)
    assert warm.told()["outcome"] == ("created" if wanted == given else "handle_invalid")


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *(('O\'Lin "Yue" \\', 'O\'Lin "Yue" \\'), ("'); DROP TABLE users; --", "'); DROP TABLE users; --")),
        *(("%(sub)s %s {}", "%(sub)s %s {}"), ("é" * 50, "é" * 50), ("é" * 51, "é" * 50), (" \u3000", "LinYue")),
        ("Lin\0\ud800", "Lin"),
    ],
)
def test_name_is_stored_unchanged_or_shortened_to_be_valid(
    warm: Lambda, owner: psycopg.Connection, name: str, shown: str
) -> None:
    warm.invoke(event(**LIN | {"name": name}))

    assert people(owner) == [("LinYue", shown, "lin@example.com", SUB)]
    assert warm.told()["outcome"] == "created"


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(("sub", "outcome", "count"), [(SUB, "present", 1), ("another", "handle_taken", 2)])
def test_concurrent_creation_of_a_user_is_awaited(
    warm: Lambda, owner: psycopg.Connection, sub: str, outcome: str, count: int
) -> None:
    with ThreadPoolExecutor() as pool:
        with owner.transaction():
            owner.execute(
                "INSERT INTO users (handle, display_name, cognito_user_id) VALUES ('linyue', 'First', %s)", [sub]
            )
            answer = pool.submit(warm.invoke, event())
            wait_until(lambda: owner.execute(WAITS).rowcount > 0)
        assert answer.result().how == "response"

    assert people(owner)[0][:2] == ("linyue", "First")
    assert len(people(owner)) == count
    assert warm.told()["outcome"] == outcome
