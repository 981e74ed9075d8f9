"""The Lambda's connection to the database: verified TLS, with a password, a token or a secret."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from botocore.session import Session
from moto.server import ThreadedMotoServer

from database import conninfo
from harness.certificates import signed
from harness.tls_postgres import TlsPostgres
from lib.command_errors import CommandError
from ops.lambda_role import ROLE
from tests.lambda_runtime import KEYS, REGION
from tests.post_confirmation.conftest import Start
from tests.post_confirmation.scene import ENCODED, PASSWORD, assert_profile_not_made, event, people

# Each test starts an emulator of its own. tests/post_confirmation/test_rows.py shares one.
pytestmark = pytest.mark.slow


def test_server_with_another_host_name_is_refused(start: Start, postgres: TlsPostgres) -> None:
    elsewhere = start(CONNECTION_URL=postgres.url(f"{ROLE}:{ENCODED}", host="other.test"))

    assert_profile_not_made(elsewhere.invoke(event()))

    assert 'certificate for "database.test" does not match host name "other.test"' in elsewhere.told()["reason"]


def test_server_with_a_certificate_of_another_ca_is_refused(
    start: Start, postgres: TlsPostgres, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(signed("Another CA").pem())
    misled = start(CONNECTION_URL=postgres.url(f"{ROLE}:{ENCODED}") + f"&sslrootcert={ca}")

    assert_profile_not_made(misled.invoke(event()))

    assert "certificate verify failed" in misled.told()["reason"]


def test_server_accepts_tls_only(postgres: TlsPostgres) -> None:
    url = postgres.url(f"{ROLE}:{ENCODED}")

    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(url, sslmode="disable")
    psycopg.connect(url, sslmode="verify-full", sslrootcert=str(postgres.ca)).close()


@pytest.mark.usefixtures("bystander")
def test_rds_token_authenticates_the_lambda(start: Start, postgres: TlsPostgres, passwords: list[str]) -> None:
    running = start(CONNECTION_URL=postgres.url(ROLE, dbname="tokens"), DATABASE_AUTH="iam")

    assert running.invoke(event()).how == "response"

    assert running.told()["outcome"] == "created"
    token = urlsplit(f"https://{passwords[-1]}")
    query = parse_qs(token.query)
    assert token.netloc == f"database.test:{postgres.port}"
    assert (query["Action"], query["DBUser"], query["X-Amz-Expires"]) == (["connect"], [ROLE], ["900"])
    assert query["X-Amz-Credential"][0].split("/")[2:] == [REGION, "rds-db", "aws4_request"]


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Run a Secrets Manager on this machine, and yield its address."""
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
def test_secret_is_fetched_for_each_connection_so_that_it_may_rotate(
    start: Start, owner: psycopg.Connection, postgres: TlsPostgres, vault: str
) -> None:
    secrets = Session().create_client("secretsmanager", region_name=REGION, endpoint_url=vault)
    arn = secrets.create_secret(Name="it", SecretString=f'{{"username": "{ROLE}", "password": "s3cret before"}}')["ARN"]
    url = postgres.url("somebody:else")
    running = start(CONNECTION_URL=url, DATABASE_SECRET_ARN=arn, AWS_ENDPOINT_URL_SECRETS_MANAGER=vault)

    assert_profile_not_made(running.invoke(event()))
    assert "password authentication failed" in running.told()["reason"]
    secrets.put_secret_value(SecretId=arn, SecretString=f'{{"username": "{ROLE}", "password": "{PASSWORD}"}}')
    assert running.invoke(event()).how == "response"
    assert len(people(owner)) == 1

    secrets.put_secret_value(SecretId=arn, SecretString='"s3cret"')
    assert_profile_not_made(running.invoke(event()))
    assert "no JSON object with username and password" in running.told()["reason"]
    secrets.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    assert_profile_not_made(running.invoke(event()))
    assert "DATABASE_SECRET_ARN: An error occurred (ResourceNotFoundException)" in running.told()["reason"]


URL = "postgresql://cruddur_post_confirmation@db.example/cruddur"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "CONNECTION_URL is not set; it is a URL"),
        (
            {"CONNECTION_URL": "postgresql://u:s3@cret@h/d"},
            "CONNECTION_URL is malformed: a user or a password in it is",
        ),
        *(
            ({"CONNECTION_URL": f"{URL}?sslmode={mode}"}, "CONNECTION_URL wants sslmode=verify-full, or none")
            for mode in ("disable", "allow", "prefer", "require", "verify-ca")
        ),
        ({"CONNECTION_URL": URL}, "bin/lambda-build --ca"),
        (
            {"CONNECTION_URL": f"{URL}?sslrootcert=ca", "DATABASE_AUTH": "IAM"},
            "DATABASE_AUTH is malformed: it is none of the choices",
        ),
        (
            {"CONNECTION_URL": f"{URL}?sslrootcert=ca", "DATABASE_AUTH": "iam", "DATABASE_SECRET_ARN": "arn"},
            "two ways to one end",
        ),
    ],
)
def test_invalid_setting_is_reported(settings: dict[str, str], said: str) -> None:
    with pytest.raises(CommandError, match=re.escape(said)) as refusal:
        conninfo({"AWS_REGION": REGION, **settings})
    assert "s3" not in str(refusal.value)


def test_verified_tls_is_the_default() -> None:
    for url in (f"{URL}?sslrootcert=ca", f"{URL}?sslrootcert=ca&sslmode=verify-full"):
        assert "sslmode=verify-full" in conninfo({"AWS_REGION": REGION, "CONNECTION_URL": url})
