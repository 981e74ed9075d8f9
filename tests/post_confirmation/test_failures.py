"""When no row can be made: an error within Cognito's 5 s, which says nothing of the person."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.proxy import proxy
from harness.tls_postgres import TlsPostgres
from ops.lambda_role import ROLE
from tests.lambda_runtime import Lambda
from tests.post_confirmation.conftest import Start
from tests.post_confirmation.scene import ENCODED, LIN, event, failed, people


@pytest.mark.usefixtures("bystander")
def test_a_database_that_is_down_is_told_and_served_when_it_is_back(
    start: Start, owner: psycopg.Connection, postgres: TlsPostgres
) -> None:
    with proxy(postgres.port) as network:
        running = start(CONNECTION_URL=postgres.by_way_of(network.port).url(f"{ROLE}:{ENCODED}"))
        network.reset()

        failed(running.invoke(event()))

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
def test_a_database_that_is_silent_is_given_up_in_time_for_cognito_and_lambda(
    start: Start, postgres: TlsPostgres, addresses: int, seconds: int, error: str
) -> None:
    # Each address has its time; all of them together have no more than that of everything.
    several = {"host": ",".join(["database.test"] * addresses), "hostaddr": ",".join(["127.0.0.1"] * addresses)}
    with proxy(postgres.port) as network:
        url = make_conninfo(postgres.by_way_of(network.port).url(f"{ROLE}:{ENCODED}"), **several)
        running = start(CONNECTION_URL=url)
        # So that its own start takes none of that time.
        running.invoke(event("PostConfirmation_ConfirmForgotPassword"))
        running.seconds = seconds
        network.blackhole()

        failed(running.invoke(event()))

    assert (running.told()["outcome"], running.told()["error"]) == ("failed", error)


@pytest.mark.usefixtures("bystander")
def test_a_table_that_is_locked_is_given_up(warm: Lambda, owner: psycopg.Connection) -> None:
    with owner.transaction():
        owner.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        failed(warm.invoke(event()))

    assert (warm.told()["error"], warm.told()["sqlstate"]) == ("LockNotAvailable", "55P03")
    assert people(owner) == []
    assert warm.invoke(event()).how == "response"


@pytest.mark.usefixtures("bystander")
def test_an_error_that_quotes_the_person_is_told_by_its_code(warm: Lambda, owner: psycopg.Connection) -> None:
    owner.execute("ALTER TABLE users ADD CONSTRAINT strict CHECK (handle <> 'Quoted')")
    try:
        failed(warm.invoke(event(**LIN | {"preferred_username": "Quoted"})))
    finally:
        owner.execute("ALTER TABLE users DROP CONSTRAINT strict")

    assert (warm.told()["error"], warm.told()["sqlstate"]) == ("CheckViolation", "23514")
    assert people(owner) == []


@pytest.mark.usefixtures("bystander")
def test_an_event_without_a_sub_is_told(warm: Lambda, owner: psycopg.Connection) -> None:
    failed(warm.invoke(event(name="Lin")))

    assert warm.told()["error"] == "KeyError"
    assert people(owner) == []
