"""bin/rds-create: the instance's settings as AWS reports them, and the refused ones."""

import json
from urllib.parse import unquote_plus

import pytest

from ops.rds import SAFEGUARDS, open_rules
from tests.aws import NAME, Aws, group, instance
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


def test_aws_error_is_one_error_line(aws: Aws) -> None:
    line = fails("rds-create", "--subnet-group", "none", **aws.settings, DB_SG_ID=group(aws))

    assert line == "cruddur: AWS refused CreateDBInstance: Subnet Group none not found (DBSubnetGroupNotFoundFault)"


def test_dev_option_never_weakens_encryption_secrets_or_authentication() -> None:
    weaker = {safeguard.parameter for safeguard in SAFEGUARDS if safeguard.dev_value is not None}

    assert weaker == DEV.keys()
