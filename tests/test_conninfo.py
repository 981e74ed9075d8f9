"""Connection strings: a new RDS authentication token for every connection."""

from urllib.parse import parse_qs, urlsplit

import pytest
from psycopg.conninfo import conninfo_to_dict

from harness.waiting import wait_until
from lib.command_errors import CommandError
from lib.conninfo import conninfo_provider
from lib.deadline import Deadline
from lib.pool import DatabasePool
from tests.settings import REQUIRED, load

RDS = "postgresql://cruddur_service@db.example.eu-west-1.rds.amazonaws.com/cruddur?sslmode=verify-full"
REGION = "eu-west-1"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Set fake AWS credentials, and hide this machine's own."""
    nothing = str(tmp_path_factory.mktemp("aws") / "none")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_CONFIG_FILE": nothing,
        "AWS_SHARED_CREDENTIALS_FILE": nothing,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


def test_password_auth_uses_the_urls_password() -> None:
    source = conninfo_provider("postgresql://user:secret@host/cruddur", "password", REGION)

    assert conninfo_to_dict(source())["password"] == "secret"


def test_iam_token_is_signed_for_host_and_user_and_15_minutes() -> None:
    parts = conninfo_to_dict(conninfo_provider(RDS, "iam", REGION)())

    token = urlsplit(f"https://{parts['password']}")
    query = parse_qs(token.query)
    assert (token.netloc, token.path) == ("db.example.eu-west-1.rds.amazonaws.com:5432", "/")
    assert (query["Action"], query["DBUser"], query["X-Amz-Expires"]) == (["connect"], ["cruddur_service"], ["900"])
    assert query["X-Amz-Credential"][0].split("/")[2:] == ["eu-west-1", "rds-db", "aws4_request"]
    assert parts["sslmode"] == "verify-full"
    assert "EXAMPLEKEY" not in str(parts)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (RDS.replace("verify-full", "require"), "sslmode=verify-full"),
        (RDS.replace("?sslmode=verify-full", ""), "sslmode=verify-full"),
        (RDS.replace("db.example", "db.example,other.example"), "one host"),
        (RDS.replace("cruddur_service@", ""), "a user"),
        ("postgresql://user@/cruddur?host=%2Ftmp&sslmode=verify-full", "one host"),
    ],
)
def test_url_unfit_for_iam_auth_is_refused_with_a_remedy(url: str, remedy: str) -> None:
    with pytest.raises(CommandError, match=remedy):
        load(**REQUIRED | {"CONNECTION_URL": url, "DATABASE_AUTH": "iam"}).conninfo()


@pytest.mark.parametrize(
    ("host", "region", "taken"),
    [
        ("db.example.eu-west-1.rds.amazonaws.com", "eu-west-1", True),
        ("DB.EXAMPLE.EU-WEST-1.RDS.AMAZONAWS.COM", "eu-west-1", True),
        ("db.example.eu-west-1.rds.amazonaws.com", "us-east-1", False),
        ("p.proxy-example.eu-west-1.rds.amazonaws.com", "eu-west-2", False),
        ("db.example.cn-north-1.rds.amazonaws.com.cn", "cn-northwest-1", False),
        # Custom host names contain no region.
        ("db.eu-west-1.example.com", "us-east-1", True),
    ],
)
def test_iam_token_region_must_match_the_hosts_region(host: str, region: str, taken: bool) -> None:  # noqa: FBT001 - a case
    url = f"postgresql://cruddur_service@{host}/cruddur?sslmode=verify-full"

    if taken:
        assert conninfo_provider(url, "iam", region)()
        return
    with pytest.raises(
        CommandError, match=rf"^DATABASE_AUTH=iam: .* is in \S+, and a token of {region} is not taken there"
    ):
        conninfo_provider(url, "iam", region)
    # Password authentication works in any region.
    assert conninfo_provider(url, "password", region)()


def test_missing_aws_credentials_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(CommandError, match="no AWS credentials"):
        conninfo_provider(RDS, "iam", REGION)


def test_each_new_connection_gets_a_new_conninfo(service_url: str) -> None:
    calls: list[str] = []

    def source() -> str:
        calls.append(service_url)
        return service_url

    pool = DatabasePool(source)
    wait_until(lambda: pool.pool.get_stats()["pool_size"] == 4 and len(calls) == 4)
    with pool.connection(Deadline(60)) as connection:
        connection.close()
    wait_until(lambda: len(calls) == 5)
    pool.pool.close()
