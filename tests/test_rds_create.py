"""The instance on Amazon RDS as bin/rds-create makes it: read back flag by flag, and what is refused."""

import json
from urllib.parse import unquote_plus

import pytest

from ops.rds import FLAGS, open_rules
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
# What moto takes and forgets: that it was asked for is all that can be told here.
FORGOTTEN = {
    "EnablePerformanceInsights": "true",
    "PerformanceInsightsRetentionPeriod": "7",
    "EngineLifecycleSupport": "open-source-rds-extended-support-disabled",
    "ManageMasterUserPassword": "true",
}


def forced(aws: Aws, name: str) -> str:
    """What `rds.force_ssl` is in a parameter group."""
    found = aws.client("rds").describe_db_parameters(DBParameterGroupName=name)["Parameters"]
    return str(*(each["ParameterValue"] for each in found if each["ParameterName"] == "rds.force_ssl"))


def test_an_instance_is_made_as_safe_as_it_gets(aws: Aws) -> None:
    security_group = group(aws, "203.0.114.7/32")
    said = succeeds("rds-create", **aws.settings, DB_SG_ID=security_group)

    made = instance(aws)
    assert {name: made[name] for name in SAFE | USUAL} == SAFE | USUAL
    assert made["Endpoint"]["Port"] == 5432
    assert [each["VpcSecurityGroupId"] for each in made["VpcSecurityGroups"]] == [security_group]
    assert [each["DBParameterGroupName"] for each in made["DBParameterGroups"]] == ["cruddur-postgres18"]
    assert forced(aws, "cruddur-postgres18") == "1"
    (parameters,) = aws.client("rds").describe_db_parameter_groups(DBParameterGroupName="cruddur-postgres18")[
        "DBParameterGroups"
    ]
    assert parameters["DBParameterGroupFamily"] == "postgres18"
    assert said == f"{NAME} is being made in eu-west-1: bin/rds-status {NAME} says how far it is\n"


def test_nobody_ever_sees_the_master_password(aws: Aws) -> None:
    done = script("rds-create", **aws.settings, DB_SG_ID=group(aws))

    secret = aws.client("secretsmanager").get_secret_value(SecretId=instance(aws)["MasterUserSecret"]["SecretArn"])
    password = json.loads(secret["SecretString"])["password"]
    (asked,) = aws.asked("CreateDBInstance")
    assert {name: asked[name] for name in FORGOTTEN} == FORGOTTEN
    assert "MasterUserPassword" not in asked
    assert password not in done.stdout + done.stderr + unquote_plus("".join(aws.bodies()))


def test_what_dev_goes_without_is_said_and_is_all(aws: Aws) -> None:
    done = script("rds-create", "trial", "--dev", **aws.settings, DB_SG_ID=group(aws))

    made = instance(aws, "trial")
    assert {name: made[name] for name in SAFE} == SAFE | DEV
    assert forced(aws, made["DBParameterGroups"][0]["DBParameterGroupName"]) == "1"
    assert made["MasterUserSecret"]
    (asked,) = aws.asked("CreateDBInstance")
    assert {name: asked[name] for name in FORGOTTEN} == FORGOTTEN
    assert done.stderr.splitlines() == [
        "cruddur: --dev: no private address (PubliclyAccessible=True)",
        "cruddur: --dev: no deletion protection (DeletionProtection=False)",
        "cruddur: --dev: no week of backups (BackupRetentionPeriod=1)",
        "cruddur: --dev: no standby in another zone (MultiAZ=False)",
    ]


def test_version_class_and_subnets_can_be_chosen(aws: Aws) -> None:
    subnets = [subnet["SubnetId"] for subnet in aws.client("ec2").describe_subnets()["Subnets"]]
    aws.client("rds").create_db_subnet_group(
        DBSubnetGroupName="private", DBSubnetGroupDescription="a test's", SubnetIds=subnets
    )
    chosen = ("--postgres", "15", "--instance-class", "db.m8g.large", "--subnet-group", "private")
    succeeds("rds-create", *chosen, **aws.settings, DB_SG_ID=group(aws))

    made = instance(aws)
    assert (made["EngineVersion"], made["DBInstanceClass"]) == ("15", "db.m8g.large")
    assert made["DBSubnetGroup"]["DBSubnetGroupName"] == "private"
    assert made["DBParameterGroups"][0]["DBParameterGroupName"] == "cruddur-postgres15"
    assert {name: made[name] for name in SAFE} == SAFE


@pytest.mark.parametrize("version", ["14.6", "19"])
def test_a_version_that_we_do_not_run_on_is_refused(aws: Aws, version: str) -> None:
    done = script("rds-create", "--postgres", version, **aws.settings, DB_SG_ID="sg-1")

    assert done.returncode == 2
    assert f"invalid choice: '{version}' (choose from" in done.stderr
    assert aws.asked("CreateDBInstance") == []


def test_what_is_there_already_is_left_alone(aws: Aws) -> None:
    security_group = group(aws)
    succeeds("rds-create", **aws.settings, DB_SG_ID=security_group)
    line = fails("rds-create", "--dev", "--postgres", "17", **aws.settings, DB_SG_ID=security_group)

    assert line == f"cruddur: there is an instance {NAME} already, and nothing was done: bin/rds-status shows it"
    made = instance(aws)
    assert {name: made[name] for name in SAFE | USUAL} == SAFE | USUAL
    assert len(aws.asked("CreateDBInstance")) == len(aws.asked("CreateDBParameterGroup")) == 1


def test_a_parameter_group_that_is_there_forces_tls_again(aws: Aws) -> None:
    off = {"ParameterName": "rds.force_ssl", "ParameterValue": "0", "ApplyMethod": "immediate"}
    for name in ("cruddur-postgres18", "others"):
        aws.client("rds").create_db_parameter_group(
            DBParameterGroupName=name, DBParameterGroupFamily="postgres18", Description="a test's"
        )
        aws.client("rds").modify_db_parameter_group(DBParameterGroupName=name, Parameters=[off])
    succeeds("rds-create", **aws.settings, DB_SG_ID=group(aws))

    assert (forced(aws, "cruddur-postgres18"), forced(aws, "others")) == ("1", "0")


def test_what_it_logs_is_kept_no_longer_than_activities_live(aws: Aws) -> None:
    logs = aws.client("logs")
    for name in ("/aws/rds/instance/others/postgresql", f"/aws/rds/instance/{NAME}/upgrade"):
        logs.create_log_group(logGroupName=name)
    succeeds("rds-create", **aws.settings, DB_SG_ID=group(aws))

    kept = {each["logGroupName"]: each.get("retentionInDays") for each in logs.describe_log_groups()["logGroups"]}
    assert kept == {
        "/aws/rds/instance/others/postgresql": None,
        f"/aws/rds/instance/{NAME}/postgresql": 30,
        f"/aws/rds/instance/{NAME}/upgrade": 30,
    }


@pytest.mark.parametrize(
    ("cidr", "is_open"),
    [("203.0.0.0/15", True), ("203.0.0.0/16", False), ("2001:db8::/47", True), ("2001:db8::/48", False)],
)
def test_a_network_may_not_be_as_good_as_everyone(aws: Aws, cidr: str, *, is_open: bool) -> None:
    assert bool(open_rules(aws.client("ec2"), [group(aws, cidr)])) is is_open


@pytest.mark.parametrize("everyone", ["0.0.0.0/0", "::/0"])
def test_a_security_group_that_lets_everyone_in_is_refused(aws: Aws, everyone: str) -> None:
    security_group = group(aws, "203.0.114.7/32", everyone)
    line = fails("rds-create", "--dev", **aws.settings, DB_SG_ID=security_group)

    assert line.startswith(f"cruddur: DB_SG_ID: {security_group} lets everyone in by sgr-")
    assert aws.client("rds").describe_db_instances()["DBInstances"] == []


def test_the_security_group_must_be_named(aws: Aws) -> None:
    line = fails("rds-create", **aws.settings)

    assert line == "cruddur: DB_SG_ID is not set; a right value: DB_SG_ID=sg-0123456789abcdef0"


def test_what_aws_refuses_is_one_line(aws: Aws) -> None:
    line = fails("rds-create", "--subnet-group", "none", **aws.settings, DB_SG_ID=group(aws))

    assert line == "cruddur: AWS refused CreateDBInstance: Subnet Group none not found (DBSubnetGroupNotFoundFault)"


def test_encryption_secrets_and_authentication_have_no_weaker_choice() -> None:
    weaker = {flag.asked for flag in FLAGS if flag.dev is not None}

    assert weaker == DEV.keys()
