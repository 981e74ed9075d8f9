"""What the scripts for Amazon RDS share: the regions, an instance's name, and an AWS that does not do as asked."""

import pytest

from lib.command_errors import CommandError
from ops.rds import REGIONS, client, identifier
from tests.aws import ALONE, KEYS, Aws
from tests.in_process import fails

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("region", ["eu-west-2", "eu-central-2", "us-east-1", "EU-WEST-1", ""])
def test_a_region_outside_the_european_union_is_refused(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    for name, value in {**ALONE, **KEYS, "AWS_DEFAULT_REGION": region}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(
        CommandError, match=r"a right value: AWS_DEFAULT_REGION=eu-west-1; allowed are eu-central-1, .*"
    ):
        client("rds")


def test_the_regions_of_the_european_union_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ALONE, **KEYS}.items():
        monkeypatch.setenv(name, value)

    for region in REGIONS:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        assert client("sts").meta.region_name == region


def test_a_region_is_refused_before_anything_is_asked(aws: Aws) -> None:
    settings = aws.settings | {"AWS_DEFAULT_REGION": "us-east-1"}
    line = fails("rds-create", **settings, DB_SG_ID="sg-1")

    assert line.startswith(
        "cruddur: us-east-1 is not where our people's data may be; a right value: AWS_DEFAULT_REGION="
    )
    assert aws.bodies() == []


@pytest.mark.parametrize("name", ["a", "a-b", "cruddur-db-instance", "a" * 63])
def test_a_name_that_rds_keeps_is_right(name: str) -> None:
    assert identifier(name) == name


@pytest.mark.parametrize("name", ["", "1a", "a-", "a--b", "a_b", "A", "a\n", "a" * 64])
def test_a_name_that_rds_would_change_or_refuse_is_not(name: str) -> None:
    with pytest.raises(Exception, match="is no instance's name"):
        identifier(name)


def test_without_credentials_it_is_one_line(aws: Aws) -> None:
    line = fails("rds-status", **ALONE, AWS_DEFAULT_REGION="eu-west-1", AWS_ENDPOINT_URL=aws.url)

    assert line == (
        "cruddur: there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    )


def test_without_the_right_it_is_one_line(aws: Aws) -> None:
    iam = aws.client("iam")
    iam.create_user(UserName="guest")
    key = iam.create_access_key(UserName="guest")["AccessKey"]
    settings = aws.settings | {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    aws.tell("reset-auth", b"0")
    try:
        refused = [fails("rds-status", **settings), fails("rds-status", **aws.settings)]
    finally:
        aws.tell("reset-auth", b"inf")

    assert refused[0].startswith(
        "cruddur: AWS refused DescribeDBInstances: User: arn:aws:iam::123456789012:user/guest "
    )
    assert refused[0].endswith("(AccessDenied): give the credentials that right, or take others")
    assert refused[1].endswith(
        "(InvalidClientTokenId): sign in to AWS again, and see that this machine's clock is right"
    )


def test_an_aws_that_is_away_is_one_line(aws: Aws) -> None:
    line = fails("rds-status", **aws.settings | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})

    assert line == 'cruddur: AWS was not asked: Could not connect to the endpoint URL: "http://127.0.0.1:1/"'
