"""Failed creation of a row: an error within Cognito's five seconds, without personal data."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.proxy import proxy
from harness.tls_postgres import TlsPostgres
from ops.lambda_role import ROLE
from tests.lambda_runtime import Lambda
from tests.post_confirmation.conftest import Start
from tests.post_confirmation.scene import ENCODED, LIN, assert_profile_not_made, event, people

# Each test starts an emulator of its own. tests/post_confirmation/test_rows.py shares one.
pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("bystander")
def test_unreachable_database_is_reported_and_used_again_later(
    start: Start, owner: psycopg.Connection, postgres: TlsPostgres
) -> None:
    with proxy(postgres.port) as network:
        running = start(CONNECTION_URL=postgres.by_way_of(network.port).url(f"{ROLE}:{ENCODED}"))
        network.reset()

        assert_profile_not_made(running.invoke(event()))

        assert (running.told()["outcome"], running.told()["level"]) == ("failed", "error")
        assert f"port {network.port} failed: Connection refused" in running.told()["reason"]
        assert people(owner) == []
        network.recover()
        assert running.invoke(event()).how == "response"
    assert len(people(owner)) == 1


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("addresses", "seconds", "error"), [(1, 5, "ConnectionTimeout"), (2, 5, "TimeoutError"), (1, 1, "TimeoutError")]
)
def test_silent_database_times_out_before_cognito_and_lambda(
    start: Start, postgres: TlsPostgres, addresses: int, seconds: int, error: str
) -> None:
    # Each address has a timeout, and all of them share the overall deadline.
    several = {"host": ",".join(["database.test"] * addresses), "hostaddr": ",".join(["127.0.0.1"] * addresses)}
    with proxy(postgres.port) as network:
        url = make_conninfo(postgres.by_way_of(network.port).url(f"{ROLE}:{ENCODED}"), **several)
        running = start(CONNECTION_URL=url)
        # A first event, so that the cold start takes none of the time.
        running.invoke(event("PostConfirmation_ConfirmForgotPassword"))
        running.seconds = seconds
        network.blackhole()

        assert_profile_not_made(running.invoke(event()))

    assert (running.told()["outcome"], running.told()["error"]) == ("failed", error)


@pytest.mark.usefixtures("bystander")
def test_locked_table_times_out(warm: Lambda, owner: psycopg.Connection) -> None:
    with owner.transaction():
        owner.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        assert_profile_not_made(warm.invoke(event()))

    assert (warm.told()["error"], warm.told()["sqlstate"]) == ("LockNotAvailable", "55P03")
    assert people(owner) == []
    assert warm.invoke(event()).how == "response"


@pytest.mark.usefixtures("bystander")
def test_error_that_quotes_the_user_is_logged_by_its_code(warm: Lambda, owner: psycopg.Connection) -> None:
    owner.execute("ALTER TABLE users ADD CONSTRAINT strict CHECK (handle <> 'Quoted')")
    try:
        assert_profile_not_made(warm.invoke(event(**LIN | {"preferred_username": "Quoted"})))
    finally:
        owner.execute("ALTER TABLE users DROP CONSTRAINT strict")

    assert (warm.told()["error"], warm.told()["sqlstate"]) == ("CheckViolation", "23514")
    assert people(owner) == []


@pytest.mark.usefixtures("bystander")
def test_event_without_a_sub_is_reported(warm: Lambda, owner: psycopg.Connection) -> None:
    assert_profile_not_made(warm.invoke(event(name="Lin")))

    assert warm.told()["error"] == "KeyError"
    assert people(owner) == []
