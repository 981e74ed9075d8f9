"""bin/rds-create: the instance's settings as AWS reports them, and the refused ones."""

import json
from urllib.parse import unquote_plus

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from ops import rds_create
from ops.rds import SAFEGUARDS, open_rules
from tests.aws import ARGUMENTS, NAME, Aws, group, instance
from tests.in_process import fails, script, succeeds

pytestmark = pytest.mark.slow

SAFE = {
    "StorageEncrypted": True,
    "PubliclyAccessible": False,
    "DeletionProtection": True,
    "BackupRetentionPeriod": 7,
    "MultiAZ": True,
    "IAMDatabaseAuthenticationEnabled": True,
    "EnabledCloudwatchLogsExports": ["postgresql", "upgrade"],
}
USUAL = {
    "DBInstanceIdentifier": NAME,
    "DBName": "cruddur",
    "MasterUsername": "cruddur_owner",
    "Engine": "postgres",
    "EngineVersion": "18",
    "DBInstanceClass": "db.t4g.micro",
    "StorageType": "gp3",
    "AllocatedStorage": 20,
    "MaxAllocatedStorage": 100,
    "AutoMinorVersionUpgrade": True,
    "CopyTagsToSnapshot": True,
}
DEV = {"PubliclyAccessible": True, "DeletionProtection": False, "BackupRetentionPeriod": 1, "MultiAZ": False}
# Parameters that moto accepts without storing them. The request itself is all that a test can check.
UNSTORED = {
    "EnablePerformanceInsights": "true",
    "PerformanceInsightsRetentionPeriod": "7",
    "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
    "ManageMasterUserPassword": "true",
}


LOG_GROUPS = {f"/aws/rds/instance/{NAME}/postgresql", f"/aws/rds/instance/{NAME}/upgrade"}
# As AWS answers the second attempt of a request whose first response was lost, and as both are lost.
REFUSED = ClientError({"Error": {"Code": "DBInstanceAlreadyExists", "Message": "exists"}}, "CreateDBInstance")
INTERNAL = ClientError(
    {"Error": {"Code": "InternalFailure", "Message": "-"}, "ResponseMetadata": {"HTTPStatusCode": 500}},
    "CreateDBInstance",
)
LOST = ReadTimeoutError(endpoint_url="https://rds")


def remaining(aws: Aws) -> set[str]:
    """Return the names of all log groups and of our parameter groups."""
    groups = aws.client("rds").describe_db_parameter_groups()["DBParameterGroups"]
    names = {each["DBParameterGroupName"] for each in groups}
    logs = {each["logGroupName"] for each in aws.client("logs").describe_log_groups()["logGroups"]}
    return logs | {name for name in names if name.startswith("cruddur-")}


def refuse(*_: object) -> None:
    """Refuse a call as AWS does."""
    raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no right"}}, "CreateDBParameterGroup")


def force_ssl(aws: Aws, name: str) -> str:
    """Return the value of `rds.force_ssl` in a parameter group."""
    parameters = aws.client("rds").describe_db_parameters(DBParameterGroupName=name)["Parameters"]
    return str(*(each["ParameterValue"] for each in parameters if each["ParameterName"] == "rds.force_ssl"))


def test_instance_is_created_with_the_safest_settings(aws: Aws) -> None:
    security_group = group(aws, "203.0.114.7/32")
    output = succeeds("rds-create", **aws.settings, DB_SG_ID=security_group)

    created = instance(aws)
    assert {name: created[name] for name in SAFE | USUAL} == SAFE | USUAL
    assert created["Endpoint"]["Port"] == 5432
    assert [each["VpcSecurityGroupId"] for each in created["VpcSecurityGroups"]] == [security_group]
    assert [each["DBParameterGroupName"] for each in created["DBParameterGroups"]] == ["cruddur-postgres18"]
    assert force_ssl(aws, "cruddur-postgres18") == "1"
    (parameters,) = aws.client("rds").describe_db_parameter_groups(DBParameterGroupName="cruddur-postgres18")[
        "DBParameterGroups"
    ]
    assert parameters["DBParameterGroupFamily"] == "postgres18"
    assert output == f"{NAME} is being created in eu-west-1: bin/rds-status {NAME} shows its status\n"


def test_master_password_stays_in_secrets_manager(aws: Aws) -> None:
    result = script("rds-create", **aws.settings, DB_SG_ID=group(aws))

    secret = aws.client("secretsmanager").get_secret_value(SecretId=instance(aws)["MasterUserSecret"]["SecretArn"])
    password = json.loads(secret["SecretString"])["password"]
    (request,) = aws.asked("CreateDBInstance")
    assert {name: request[name] for name in UNSTORED} == UNSTORED
    assert "MasterUserPassword" not in request
    assert password not in result.stdout + result.stderr + unquote_plus("".join(aws.bodies()))


def test_dev_option_reports_each_weaker_setting(aws: Aws) -> None:
    result = script("rds-create", "trial", "--dev", **aws.settings, DB_SG_ID=group(aws))

    created = instance(aws, "trial")
    assert {name: created[name] for name in SAFE} == SAFE | DEV
    assert force_ssl(aws, created["DBParameterGroups"][0]["DBParameterGroupName"]) == "1"
    assert created["MasterUserSecret"]
    (request,) = aws.asked("CreateDBInstance")
    assert {name: request[name] for name in UNSTORED} == UNSTORED
    assert result.stderr.splitlines() == [
        "cruddur: --dev: no private address (PubliclyAccessible=True)",
        "cruddur: --dev: no deletion protection (DeletionProtection=False)",
        "cruddur: --dev: no week of backups (BackupRetentionPeriod=1)",
        "cruddur: --dev: no standby in another zone (MultiAZ=False)",
    ]


def test_version_class_and_subnet_group_are_options(aws: Aws) -> None:
    subnets = [subnet["SubnetId"] for subnet in aws.client("ec2").describe_subnets()["Subnets"]]
    aws.client("rds").create_db_subnet_group(
        DBSubnetGroupName="private", DBSubnetGroupDescription="a test's", SubnetIds=subnets
    )
    options = ("--postgres", "15", "--instance-class", "db.m8g.large", "--subnet-group", "private")
    succeeds("rds-create", *options, **aws.settings, DB_SG_ID=group(aws))

    created = instance(aws)
    assert (created["EngineVersion"], created["DBInstanceClass"]) == ("15", "db.m8g.large")
    assert created["DBSubnetGroup"]["DBSubnetGroupName"] == "private"
    assert created["DBParameterGroups"][0]["DBParameterGroupName"] == "cruddur-postgres15"
    assert {name: created[name] for name in SAFE} == SAFE


@pytest.mark.parametrize("version", ["14.6", "19"])
def test_unsupported_version_is_refused(aws: Aws, version: str) -> None:
    result = script("rds-create", "--postgres", version, **aws.settings, DB_SG_ID="sg-1")

    assert result.returncode == 2
    assert f"invalid choice: '{version}' (choose from" in result.stderr
    assert aws.asked("CreateDBInstance") == []


def test_existing_instance_is_left_alone(aws: Aws) -> None:
    security_group = group(aws)
    succeeds("rds-create", **aws.settings, DB_SG_ID=security_group)
    line = fails("rds-create", "--dev", "--postgres", "17", **aws.settings, DB_SG_ID=security_group)

    assert line == f"cruddur: instance {NAME} exists already, and nothing was done: bin/rds-status shows it"
    created = instance(aws)
    assert {name: created[name] for name in SAFE | USUAL} == SAFE | USUAL
    assert len(aws.asked("CreateDBInstance")) == len(aws.asked("CreateDBParameterGroup")) == 1


def test_existing_parameter_group_forces_tls_again(aws: Aws) -> None:
    off = {"ParameterName": "rds.force_ssl", "ParameterValue": "0", "ApplyMethod": "immediate"}
    for name in ("cruddur-postgres18", "others"):
        aws.client("rds").create_db_parameter_group(
            DBParameterGroupName=name, DBParameterGroupFamily="postgres18", Description="a test's"
        )
        aws.client("rds").modify_db_parameter_group(DBParameterGroupName=name, Parameters=[off])
    succeeds("rds-create", **aws.settings, DB_SG_ID=group(aws))

    assert (force_ssl(aws, "cruddur-postgres18"), force_ssl(aws, "others")) == ("1", "0")


def test_log_retention_does_not_exceed_the_longest_ttl(aws: Aws) -> None:
    logs = aws.client("logs")
    for name in ("/aws/rds/instance/others/postgresql", f"/aws/rds/instance/{NAME}/upgrade"):
        logs.create_log_group(logGroupName=name)
    succeeds("rds-create", **aws.settings, DB_SG_ID=group(aws))

    retention = {each["logGroupName"]: each.get("retentionInDays") for each in logs.describe_log_groups()["logGroups"]}
    assert retention == {
        "/aws/rds/instance/others/postgresql": None,
        f"/aws/rds/instance/{NAME}/postgresql": 30,
        f"/aws/rds/instance/{NAME}/upgrade": 30,
    }


@pytest.mark.parametrize(("backups", "logs"), [("1", "1"), ("35", "14")])
def test_retention_is_an_option(aws: Aws, backups: str, logs: str) -> None:
    options = ("--backup-days", backups, "--log-days", logs)
    succeeds("rds-create", *options, **aws.settings, DB_SG_ID=group(aws))

    assert instance(aws)["BackupRetentionPeriod"] == int(backups)
    groups = aws.client("logs").describe_log_groups()["logGroups"]
    assert [each["retentionInDays"] for each in groups] == [int(logs)] * 2


@pytest.mark.parametrize("option", [("--backup-days", "0"), ("--backup-days", "36"), ("--log-days", "60")])
def test_other_retention_is_refused(aws: Aws, option: tuple[str, str]) -> None:
    result = script("rds-create", *option, **aws.settings, DB_SG_ID=group(aws))

    assert result.returncode == 2
    assert f"invalid choice: {option[1]}" in result.stderr
    assert aws.client("rds").describe_db_instances()["DBInstances"] == []


@pytest.mark.parametrize(
    ("cidr", "is_open"),
    [("203.0.0.0/15", True), ("203.0.0.0/16", False), ("2001:db8::/47", True), ("2001:db8::/48", False)],
)
def test_large_network_counts_as_open_to_everyone(aws: Aws, cidr: str, *, is_open: bool) -> None:
    assert bool(open_rules(aws.client("ec2"), [group(aws, cidr)])) is is_open


@pytest.mark.parametrize("everyone", ["0.0.0.0/0", "::/0"])
def test_security_group_open_to_everyone_is_refused(aws: Aws, everyone: str) -> None:
    security_group = group(aws, "203.0.114.7/32", everyone)
    line = fails("rds-create", "--dev", **aws.settings, DB_SG_ID=security_group)

    assert line.startswith(f"cruddur: DB_SG_ID: {security_group} lets everyone in by sgr-")
    assert aws.client("rds").describe_db_instances()["DBInstances"] == []


def test_security_group_is_required(aws: Aws) -> None:
    line = fails("rds-create", **aws.settings)

    assert line == "cruddur: DB_SG_ID is not set; a valid example is DB_SG_ID=sg-0123456789abcdef0"


def test_missing_security_group_is_refused_before_anything_is_made(aws: Aws) -> None:
    line = fails("rds-create", **aws.settings, DB_SG_ID="sg-0123456789abcdef0")

    assert line == "cruddur: DB_SG_ID: no security group sg-0123456789abcdef0 in eu-west-1, and nothing was done"
    assert remaining(aws) == set()


def test_zone_is_an_option_of_an_instance_without_a_standby(aws: Aws) -> None:
    security_group = group(aws)
    script("rds-create", "--dev", "--zone", "eu-west-1b", **aws.settings, DB_SG_ID=security_group)

    assert instance(aws)["AvailabilityZone"] == "eu-west-1b"
    for options, error in (
        (["--zone", "eu-west-1b"], "--zone needs --dev: with a standby AWS takes two zones of the subnet group"),
        (
            ["--dev", "--zone", "us-east-1a"],
            "--zone: us-east-1a is no zone of eu-west-1: a valid example is eu-west-1a",
        ),
    ):
        result = script("rds-create", "other", *options, **aws.settings, DB_SG_ID=security_group)
        assert (result.returncode, result.stderr.splitlines()[-1]) == (2, f"bin/rds-create: error: {error}")
    assert len(aws.asked("CreateDBInstance")) == 1


def test_refused_instance_leaves_nothing_behind(aws: Aws) -> None:
    result = script("rds-create", "--subnet-group", "none", **aws.settings, DB_SG_ID=group(aws))

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "cruddur: parameter group cruddur-postgres18 is removed again",
        f"cruddur: log group /aws/rds/instance/{NAME}/upgrade is removed again",
        f"cruddur: log group /aws/rds/instance/{NAME}/postgresql is removed again",
        "cruddur: AWS refused CreateDBInstance: Subnet Group none not found (DBSubnetGroupNotFoundFault)",
    ]
    assert remaining(aws) == set()


def test_refused_instance_keeps_what_was_there_before(aws: Aws) -> None:
    succeeds("rds-create", "first", **aws.settings, DB_SG_ID=group(aws))
    before = remaining(aws)
    result = script("rds-create", "--subnet-group", "none", **aws.settings, DB_SG_ID=group(aws, "203.0.114.7/32"))

    assert result.returncode == 1
    assert "parameter group" not in result.stderr
    assert remaining(aws) == before


def test_refused_step_before_the_instance_removes_the_steps_before(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rds_create, "create_parameter_group", refuse)

    with pytest.raises(ClientError):
        rds_create.create(aws.client("rds"), aws.client("ec2"), aws.client("logs"), ARGUMENTS, group(aws))

    assert remaining(aws) == set()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (REFUSED, f"cruddur: {NAME} exists now: bin/rds-status shows it"),
        (INTERNAL, "cruddur: parameter group cruddur-postgres18 remains: bin/rds-create goes on with it"),
        (LOST, "cruddur: parameter group cruddur-postgres18 remains: bin/rds-create goes on with it"),
    ],
)
def test_instance_whose_creation_got_no_response_keeps_its_logs_and_parameters(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    rds = aws.client("rds")
    create_db_instance = rds.create_db_instance

    def create_without_a_response(**parameters: object) -> None:
        create_db_instance(**parameters)
        raise error

    monkeypatch.setattr(rds, "create_db_instance", create_without_a_response)
    with pytest.raises(type(error)):
        rds_create.create(rds, aws.client("ec2"), aws.client("logs"), ARGUMENTS, group(aws))

    assert remaining(aws) == LOG_GROUPS | {"cruddur-postgres18"}
    assert capsys.readouterr().err.splitlines()[0] == line


def test_dev_option_never_weakens_encryption_secrets_or_authentication() -> None:
    weaker = {safeguard.parameter for safeguard in SAFEGUARDS if safeguard.dev_value is not None}

    assert weaker == DEV.keys()
