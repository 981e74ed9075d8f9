"""The trigger of Cognito as it is shipped: the zip's files, by Lambda's own runtime client, on a Postgres with TLS."""

import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from botocore.session import Session
from moto.server import ThreadedMotoServer
from psycopg.conninfo import make_conninfo

from database import conninfo
from faults.proxy import proxy
from lib.failure import Failure
from ops.command import Database
from ops.create import create
from ops.lambda_role import ROLE, lambda_role
from ops.roles import set_password
from ops.schema_load import schema_load
from tests.lambda_runtime import KEYS, REGION, Answer, Function, Lambda, started, unpacked
from tests.running import eventually
from tests.tls_postgres import TlsPostgres, signed, tls_postgres

PASSWORD = "s3cret/of#the?role"
ENCODED = "s3cret%2Fof%23the%3Frole"
SUB = "7d8ca528-4931-4254-9273-ea5ee853f271"
LIN = {"sub": SUB, "preferred_username": "LinYue", "name": "Lin Yue", "email": "lin@example.com"}
PEOPLE = """
    SELECT handle, display_name, email, cognito_user_id FROM users
    WHERE handle NOT IN ('bystander', 'friend') ORDER BY created_at
"""
WAITS = "SELECT FROM pg_locks WHERE NOT granted"
Row = tuple[object, ...]
Start = Callable[..., Lambda]


def event(trigger: str = "PostConfirmation_ConfirmSignUp", **attributes: str) -> dict[str, Any]:
    """What Cognito sends, as its guide documents it."""
    return {
        "version": "1",
        "triggerSource": trigger,
        "region": REGION,
        "userPoolId": "eu-west-1_AbCdEfGhI",
        "userName": SUB,
        "callerContext": {"awsSdkVersion": "aws-sdk-unknown-unknown", "clientId": "1h57kf5cpq17m0eml12EXAMPLE"},
        "request": {
            "userAttributes": {"cognito:user_status": "CONFIRMED", "email_verified": "true", **(attributes or LIN)}
        },
        "response": {},
    }


class Directory(socketserver.BaseRequestHandler):
    """An LDAP server (RFC 4511) that lets everybody in, and keeps their passwords: so the test sees what came."""

    passwords: list[str]

    def handle(self) -> None:
        """Answer the one request that Postgres makes."""
        data = self.request.recv(100_000)
        (_, message), *_ = parts(data)
        (_, number), (_, request), *_ = parts(message)
        _, _, (_, password), *_ = parts(request)
        self.passwords.append(password.decode())
        # A BindResponse: success, no DN, no words.
        self.request.sendall(b"\x30\x0c\x02\x01" + number + b"\x61\x07\x0a\x01\x00\x04\x00\x04\x00")


def parts(data: bytes) -> list[tuple[int, bytes]]:
    """The values that stand one after the other in BER, each with its tag."""
    found = []
    while data:
        start, length = 2, data[1]
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        found.append((data[0], data[start : start + length]))
        data = data[start + length :]
    return found


@pytest.fixture(scope="module")
def passwords() -> list[str]:
    """The passwords that the directory has seen."""
    return []


@pytest.fixture(scope="module")
def postgres(passwords: list[str]) -> Iterator[TlsPostgres]:
    """A server that the role reaches by TLS alone, and that leaves judging passwords for `tokens` to a directory."""
    handler = type("Judge", (Directory,), {"passwords": passwords})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as directory:
        threading.Thread(target=directory.serve_forever, daemon=True).start()
        port = directory.server_address[1]
        hba = (
            f'hostssl tokens {ROLE} 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={port} ldapprefix="cn="\n'
            f"hostssl cruddur {ROLE} 127.0.0.1/32 scram-sha-256"
        )
        with tls_postgres(hba) as server:
            for name in ("cruddur", "tokens"):
                prepare(Database("CONNECTION_URL", make_conninfo(server.owner_url, dbname=name)))
            yield server
        directory.shutdown()


def prepare(database: Database) -> None:
    """Make a database with the schema and the role."""
    create(database)
    schema_load(database)
    lambda_role(database)
    with database.connect() as connection:
        set_password(connection, ROLE, PASSWORD)


@pytest.fixture
def owner(postgres: TlsPostgres) -> Iterator[psycopg.Connection]:
    """The owner's connection to that server, with nobody in the database."""
    with psycopg.connect(postgres.owner_url, autocommit=True) as connection:
        connection.execute("DELETE FROM users")
        yield connection


@pytest.fixture(scope="module")
def function(postgres: TlsPostgres, tmp_path_factory: pytest.TempPathFactory) -> Function:
    """The zip, unpacked, with that server's CA in it."""
    return unpacked(tmp_path_factory.mktemp("lambda"), postgres.ca)


@pytest.fixture(scope="module")
def warm(function: Function, postgres: TlsPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lambda]:
    """The function with a password in its URL, as one that many people meet."""
    url = postgres.url(f"{ROLE}:{ENCODED}")
    with started(function, tmp_path_factory.mktemp("log"), CONNECTION_URL=url) as running:
        yield running
        discreet(running.output())


@pytest.fixture
def start(function: Function, tmp_path: Path) -> Iterator[Start]:
    """What starts the function with other settings."""
    with ExitStack() as ends:

        def start(**settings: str) -> Lambda:
            running = ends.enter_context(started(function, tmp_path, **settings))
            ends.callback(lambda: discreet(running.output()))
            return running

        yield start


def discreet(said: str) -> None:
    """Expect nothing of a person, and no secret."""
    for personal in ("Quoted", "Lin", "lin@", SUB, "DROP", "s3cret", "EXAMPLEKEY", "X-Amz-Signature"):
        assert personal not in said


def people(owner: psycopg.Connection) -> list[Row]:
    """Everybody but the bystander and their friend."""
    return owner.execute(PEOPLE).fetchall()


def failed(answer: Answer) -> None:
    """Expect the failure that Cognito passes on to the client: no word of whom it was about, or why."""
    assert answer.how == "error"
    assert (answer.body["errorType"], answer.body["errorMessage"]) == (
        "ProfileNotMade",
        "The profile is not set up yet; it will be at the first visit.",
    )
    discreet(str(answer.body))


@pytest.mark.usefixtures("bystander")
def test_whoever_signs_up_gets_a_row(warm: Lambda, owner: psycopg.Connection) -> None:
    assert warm.invoke(event()) == Answer("response", event())

    assert people(owner) == [("LinYue", "Lin Yue", "lin@example.com", SUB)]
    told = warm.told()
    assert (told["trigger"], told["outcome"], told["level"]) == ("PostConfirmation_ConfirmSignUp", "created", "info")
    assert re.fullmatch("[0-9a-f-]{36}", told["request_id"])


@pytest.mark.usefixtures("bystander")
def test_a_replay_changes_nothing_even_of_what_the_person_has_changed(warm: Lambda, owner: psycopg.Connection) -> None:
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
def test_another_trigger_touches_nothing(warm: Lambda, owner: psycopg.Connection, trigger: str) -> None:
    assert warm.invoke(event(trigger)) == Answer("response", event(trigger))

    assert people(owner) == []
    assert (warm.told()["outcome"], warm.told()["trigger"]) == ("ignored", trigger)


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("wanted", ["LinYue", "LINYUE"])
def test_whose_handle_is_taken_gets_a_row_with_an_ending(
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
    ],
)
def test_whose_handle_is_invalid_gets_a_row_with_an_ending(
    warm: Lambda, owner: psycopg.Connection, wanted: str | None, given: str
) -> None:
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
def test_a_name_is_stored_as_it_is_or_made_to_fit(
    warm: Lambda, owner: psycopg.Connection, name: str, shown: str
) -> None:
    warm.invoke(event(**LIN | {"name": name}))

    assert people(owner) == [("LinYue", shown, "lin@example.com", SUB)]
    assert warm.told()["outcome"] == "created"


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(("sub", "outcome", "count"), [(SUB, "present", 1), ("another", "handle_taken", 2)])
def test_who_comes_while_another_is_being_made_waits_for_that(
    warm: Lambda, owner: psycopg.Connection, sub: str, outcome: str, count: int
) -> None:
    with ThreadPoolExecutor() as pool:
        with owner.transaction():
            owner.execute(
                "INSERT INTO users (handle, display_name, cognito_user_id) VALUES ('linyue', 'First', %s)", [sub]
            )
            answer = pool.submit(warm.invoke, event())
            eventually(lambda: owner.execute(WAITS).rowcount > 0)
        assert answer.result().how == "response"

    assert people(owner)[0][:2] == ("linyue", "First")
    assert len(people(owner)) == count
    assert warm.told()["outcome"] == outcome


@pytest.mark.usefixtures("bystander")
def test_a_database_that_is_down_is_told_and_served_when_it_is_back(
    start: Start, owner: psycopg.Connection, postgres: TlsPostgres
) -> None:
    with proxy(postgres.port) as network:
        running = start(CONNECTION_URL=postgres.by_way_of(network.port).url(f"{ROLE}:{ENCODED}"))
        network.cut()

        failed(running.invoke(event()))

        assert (running.told()["outcome"], running.told()["level"]) == ("failed", "error")
        assert f"port {network.port} failed: Connection refused" in running.told()["reason"]
        assert people(owner) == []
        network.pass_on()
        assert running.invoke(event()).how == "response"
    assert len(people(owner)) == 1


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(("addresses", "error"), [(1, "ConnectionTimeout"), (2, "TimeoutError")])
def test_a_database_that_is_silent_is_given_up_within_cognitos_five_seconds(
    start: Start, owner: psycopg.Connection, postgres: TlsPostgres, addresses: int, error: str
) -> None:
    # Each address has its time; all of them together have no more than that of everything.
    several = {"host": ",".join(["database.test"] * addresses), "hostaddr": ",".join(["127.0.0.1"] * addresses)}
    with proxy(postgres.port) as network:
        url = make_conninfo(postgres.by_way_of(network.port).url(f"{ROLE}:{ENCODED}"), **several)
        running = start(CONNECTION_URL=url)
        network.swallow()

        failed(running.invoke(event()))

    assert (running.told()["outcome"], running.told()["error"]) == ("failed", error)
    assert people(owner) == []


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


def test_the_server_is_verified_to_be_the_one_that_is_meant(start: Start, postgres: TlsPostgres) -> None:
    elsewhere = start(CONNECTION_URL=postgres.url(f"{ROLE}:{ENCODED}", host="other.test"))

    failed(elsewhere.invoke(event()))

    assert 'certificate for "database.test" does not match host name "other.test"' in elsewhere.told()["reason"]


def test_a_server_with_a_certificate_of_another_ca_is_refused(
    start: Start, postgres: TlsPostgres, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(signed("Another CA").pem())
    deceived = start(CONNECTION_URL=postgres.url(f"{ROLE}:{ENCODED}") + f"&sslrootcert={ca}")

    failed(deceived.invoke(event()))

    assert "certificate verify failed" in deceived.told()["reason"]


def test_the_server_takes_nothing_but_tls(postgres: TlsPostgres) -> None:
    url = postgres.url(f"{ROLE}:{ENCODED}")

    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(url, sslmode="disable")
    psycopg.connect(url, sslmode="verify-full", sslrootcert=str(postgres.ca)).close()


@pytest.mark.usefixtures("bystander")
def test_a_token_of_rdss_lets_it_in(start: Start, postgres: TlsPostgres, passwords: list[str]) -> None:
    tokened = start(CONNECTION_URL=postgres.url(ROLE, dbname="tokens"), DATABASE_AUTH="iam")

    assert tokened.invoke(event()).how == "response"

    assert tokened.told()["outcome"] == "created"
    token = urlsplit(f"https://{passwords[-1]}")
    said = parse_qs(token.query)
    assert token.netloc == f"database.test:{postgres.port}"
    assert (said["Action"], said["DBUser"], said["X-Amz-Expires"]) == (["connect"], [ROLE], ["900"])
    assert said["X-Amz-Credential"][0].split("/")[2:] == [REGION, "rds-db", "aws4_request"]


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of a Secrets Manager on this machine."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.usefixtures("bystander")
def test_a_secret_is_asked_for_each_time_so_that_it_may_rotate(
    start: Start, owner: psycopg.Connection, postgres: TlsPostgres, vault: str
) -> None:
    secrets = Session().create_client("secretsmanager", region_name=REGION, endpoint_url=vault)
    arn = secrets.create_secret(Name="it", SecretString=f'{{"username": "{ROLE}", "password": "s3cret before"}}')["ARN"]
    url = postgres.url("somebody:else")
    kept = start(CONNECTION_URL=url, DATABASE_SECRET_ARN=arn, AWS_ENDPOINT_URL_SECRETS_MANAGER=vault)

    failed(kept.invoke(event()))
    assert "password authentication failed" in kept.told()["reason"]
    secrets.put_secret_value(SecretId=arn, SecretString=f'{{"username": "{ROLE}", "password": "{PASSWORD}"}}')
    assert kept.invoke(event()).how == "response"
    assert len(people(owner)) == 1

    secrets.put_secret_value(SecretId=arn, SecretString='"s3cret"')
    failed(kept.invoke(event()))
    assert "no JSON object with username and password" in kept.told()["reason"]
    secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    failed(kept.invoke(event()))
    assert "DATABASE_SECRET_ARN: An error occurred (ResourceNotFoundException)" in kept.told()["reason"]


URL = "postgresql://cruddur_post_confirmation@db.example/cruddur"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "CONNECTION_URL is not set, or malformed; a right value"),
        ({"CONNECTION_URL": "postgresql://u:s3@cret@h/d"}, "CONNECTION_URL is not set, or malformed"),
        *(
            ({"CONNECTION_URL": f"{URL}?sslmode={mode}"}, "CONNECTION_URL wants sslmode=verify-full, or none")
            for mode in ("disable", "allow", "prefer", "require", "verify-ca")
        ),
        ({"CONNECTION_URL": URL}, "bin/lambda-build --ca"),
        ({"CONNECTION_URL": f"{URL}?sslrootcert=ca", "DATABASE_AUTH": "IAM"}, "DATABASE_AUTH is malformed"),
        (
            {"CONNECTION_URL": f"{URL}?sslrootcert=ca", "DATABASE_AUTH": "iam", "DATABASE_SECRET_ARN": "arn"},
            "two ways to one end",
        ),
    ],
)
def test_a_setting_that_is_not_right_is_told(settings: dict[str, str], said: str) -> None:
    with pytest.raises(Failure, match=re.escape(said)) as refusal:
        conninfo({"AWS_REGION": REGION, **settings})
    assert "s3" not in str(refusal.value)


def test_tls_to_the_very_host_is_what_holds_without_a_word() -> None:
    for url in (f"{URL}?sslrootcert=ca", f"{URL}?sslrootcert=ca&sslmode=verify-full"):
        assert "sslmode=verify-full" in conninfo({"AWS_REGION": REGION, "CONNECTION_URL": url})
