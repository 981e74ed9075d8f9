"""Parts shared by the RDS commands: regions, instance names and errors of AWS."""

import pytest

from lib.command_errors import CommandError
from ops.rds import REGIONS, client, instance_name
from tests.aws import ALONE, KEYS, Aws
from tests.in_process import fails

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("region", ["eu-west-2", "eu-central-2", "us-east-1", "EU-WEST-1", ""])
def test_region_outside_the_european_union_is_refused(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    for name, value in {**ALONE, **KEYS, "AWS_DEFAULT_REGION": region}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(
        CommandError, match=r"a valid example is AWS_DEFAULT_REGION=eu-west-1; allowed are eu-central-1, .*"
    ):
        client("rds")


def test_regions_of_the_european_union_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ALONE, **KEYS}.items():
        monkeypatch.setenv(name, value)

    for region in REGIONS:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        assert client("sts").meta.region_name == region


def test_region_is_refused_before_any_request_to_aws(aws: Aws) -> None:
    settings = aws.settings | {"AWS_DEFAULT_REGION": "us-east-1"}
    line = fails("rds-create", **settings, DB_SG_ID="sg-1")

    assert line.startswith(
        "cruddur: us-east-1 is not a region for our users' data; a valid example is AWS_DEFAULT_REGION="
    )
    assert aws.bodies() == []


@pytest.mark.parametrize("name", ["a", "a-b", "cruddur-db-instance", "a" * 63])
def test_valid_instance_name_is_accepted(name: str) -> None:
    assert instance_name(name) == name


@pytest.mark.parametrize("name", ["", "1a", "a-", "a--b", "a_b", "A", "a\n", "a" * 64])
def test_invalid_instance_name_is_refused(name: str) -> None:
    with pytest.raises(Exception, match="is not an instance's name"):
        instance_name(name)


def test_missing_credentials_are_one_error_line(aws: Aws) -> None:
    line = fails("rds-status", **ALONE, AWS_DEFAULT_REGION="eu-west-1", AWS_ENDPOINT_URL=aws.url)

    assert line == ("cruddur: no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")


def test_missing_permission_is_one_error_line(aws: Aws) -> None:
    iam = aws.client("iam")
    iam.create_user(UserName="guest")
    key = iam.create_access_key(UserName="guest")["AccessKey"]
    settings = aws.settings | {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    aws.tell("reset-auth", b"0")
    try:
        lines = [fails("rds-status", **settings), fails("rds-status", **aws.settings)]
    finally:
        aws.tell("reset-auth", b"inf")

    assert lines[0].startswith("cruddur: AWS refused DescribeDBInstances: User: arn:aws:iam::123456789012:user/guest ")
    assert lines[0].endswith("(AccessDenied): give the credentials that right, or take others")
    assert lines[1].endswith("(InvalidClientTokenId): sign in to AWS again, and see that this machine's clock is right")


def test_unreachable_aws_is_one_error_line(aws: Aws) -> None:
    line = fails("rds-status", **aws.settings | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})

    assert line == 'cruddur: AWS was not called: Could not connect to the endpoint URL: "http://127.0.0.1:1/"'
