"""bin/rds-status: the connection string of an RDS instance, and each weak setting."""

from typing import Any

import pytest

from lib.command_errors import CommandError
from lib.conninfo import check_connection_url
from ops.command import ROOT
from ops.rds_create import create
from ops.rds_status import RUNBOOK, checks, owner_url, report
from tests.aws import ARGUMENTS, NAME, Aws, group, instance
from tests.in_process import script

pytestmark = pytest.mark.slow

HOST = f"{NAME}.aaaaaaaaaa.eu-west-1.rds.amazonaws.com"
URL = f"postgresql://cruddur_owner@{HOST}:5432/cruddur?sslmode=verify-full"
WEAKER = [
    ("encrypted storage", "StorageEncrypted", False),
    ("private address", "PubliclyAccessible", True),
    ("deletion protection", "DeletionProtection", False),
    ("week of backups", "BackupRetentionPeriod", 6),
    ("standby in another zone", "MultiAZ", False),
    ("IAM authentication", "IAMDatabaseAuthenticationEnabled", False),
    ("master password in Secrets Manager", "MasterUserSecret", None),
    ("performance insights", "PerformanceInsightsEnabled", False),
    ("log exports", "EnabledCloudwatchLogsExports", ["postgresql"]),
    ("log exports", "EnabledCloudwatchLogsExports", None),
    ("version that Cruddur supports", "EngineVersion", "14.6"),
    ("version that Cruddur supports", "EngineVersion", "19.1"),
]


@pytest.fixture
def created(aws: Aws) -> Any:
    """Create the instance with bin/rds-create, and return AWS's description."""
    create(aws.client("rds"), aws.client("ec2"), aws.client("logs"), ARGUMENTS, group(aws, "203.0.114.7/32"))
    # moto does not store this setting.
    return instance(aws) | {"PerformanceInsightsEnabled": True}


def weak(aws: Aws, described: Any) -> list[str]:
    """Return the names of an instance's weak settings."""
    all_checks = checks(aws.client("rds"), aws.client("ec2"), described)
    return [check.name for check in all_checks if not check.holds]


def test_weak_instance_fails_with_a_line_per_weakness(aws: Aws, created: Any) -> None:
    aws.client("rds").modify_db_instance(DBInstanceIdentifier=NAME, MultiAZ=False, ApplyImmediately=True)
    result = script("rds-status", **aws.settings)

    assert result.stdout.splitlines() == [
        f"{NAME}: available, in eu-west-1",
        "Postgres 18 on db.t4g.micro, 20 GiB of gp3",
        f"PROD_CONNECTION_URL={URL}",
        f"password of cruddur_owner: {created['MasterUserSecret']['SecretArn']}",
        "encrypted storage: yes",
        "private address: yes",
        "deletion protection: yes",
        "week of backups: yes",
        "standby in another zone: no",
        "IAM authentication: yes",
        "master password in Secrets Manager: yes",
        "performance insights: no",
        "log exports: yes",
        "version that Cruddur supports: yes",
        "forced TLS: yes",
        "closed security group: yes",
    ]
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"cruddur: {NAME} has no standby in another zone (MultiAZ=False)",
        f"cruddur: {NAME} has no performance insights (PerformanceInsightsEnabled=None)",
    ]


def test_each_weak_setting_is_reported(aws: Aws, created: Any) -> None:
    assert weak(aws, created) == []
    for name, key, value in WEAKER:
        assert weak(aws, created | {key: value}) == [name]


def test_stronger_settings_are_accepted(aws: Aws, created: Any) -> None:
    more = {"BackupRetentionPeriod": 8, "EnabledCloudwatchLogsExports": ["upgrade", "iam-db-auth-error", "postgresql"]}

    assert weak(aws, created | more) == []


def test_old_version_names_the_runbook(aws: Aws, created: Any) -> None:
    document, heading = RUNBOOK.split(", ")
    with pytest.raises(CommandError, match=rf"Postgres 14\.6: {RUNBOOK}"):
        report(aws.client("rds"), aws.client("ec2"), created | {"EngineVersion": "14.6"})

    assert f"{heading}\n" in (ROOT / document).read_text()
    assert weak(aws, created | {"EngineVersion": "15.14"}) == []


def test_forced_tls_needs_an_applied_parameter(aws: Aws, created: Any) -> None:
    rds = aws.client("rds")
    waiting = created["DBParameterGroups"][0] | {"ParameterApplyStatus": "pending-reboot"}
    assert weak(aws, created | {"DBParameterGroups": [waiting]}) == ["forced TLS"]

    off = {"ParameterName": "rds.force_ssl", "ParameterValue": "0", "ApplyMethod": "immediate"}
    rds.modify_db_parameter_group(DBParameterGroupName="cruddur-postgres18", Parameters=[off])
    assert weak(aws, created) == ["forced TLS"]

    rds.create_db_parameter_group(DBParameterGroupName="bare", DBParameterGroupFamily="postgres14", Description="-")
    bare = created["DBParameterGroups"][0] | {"DBParameterGroupName": "bare"}
    assert weak(aws, created | {"DBParameterGroups": [bare]}) == ["forced TLS"]


@pytest.mark.parametrize("everyone", ["0.0.0.0/0", "::/0", "0.0.0.0/1"])
def test_security_group_open_to_everyone_is_reported(aws: Aws, created: Any, everyone: str) -> None:
    groups = [*created["VpcSecurityGroups"], {"VpcSecurityGroupId": group(aws, everyone), "Status": "active"}]
    *_, check = checks(aws.client("rds"), aws.client("ec2"), created | {"VpcSecurityGroups": groups})

    assert (check.name, check.holds) == ("closed security group", False)
    assert check.actual.startswith("everyone comes in by sgr-")


def test_reported_url_is_a_valid_connection_url(created: Any) -> None:
    assert owner_url(created) == URL
    assert check_connection_url(URL) == URL


def test_status_of_an_instance_in_creation_omits_later_values(
    aws: Aws, created: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    later = {"Endpoint", "MasterUserSecret"}
    making = {name: value for name, value in created.items() if name not in later}
    report(aws.client("rds"), aws.client("ec2"), making | {"DBInstanceStatus": "creating", "MultiAZ": False})

    assert capsys.readouterr().out.splitlines() == [
        f"{NAME}: creating, in eu-west-1",
        "Postgres 18 on db.t4g.micro, 20 GiB of gp3",
        "it has no address yet",
        "password of cruddur_owner: not in Secrets Manager",
        "its safeguards are shown once it is available",
    ]
