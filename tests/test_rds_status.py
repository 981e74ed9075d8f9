"""What bin/rds-status tells of an instance on Amazon RDS: how to connect, and each thing that is weak."""

from argparse import Namespace
from typing import Any

import pytest

from lib.conninfo import check_connection_url
from ops.rds_create import create
from ops.rds_status import checks, report, url
from tests.aws import NAME, Aws, group, instance
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
]


@pytest.fixture
def made(aws: Aws) -> Any:
    """The instance as bin/rds-create makes it and AWS describes it."""
    given = Namespace(name=NAME, dev=False, postgres="18", instance_class="db.t4g.micro", subnet_group=None)
    create(aws.client("rds"), aws.client("ec2"), aws.client("logs"), given, group(aws, "203.0.114.7/32"))
    # The one thing that moto does not keep.
    return instance(aws) | {"PerformanceInsightsEnabled": True}


def weak(aws: Aws, described: Any) -> list[str]:
    """The names of what is weak in an instance."""
    found = checks(aws.client("rds"), aws.client("ec2"), described)
    return [check.name for check in found if not check.holds]


def test_what_is_weak_fails_with_a_line_for_each(aws: Aws, made: Any) -> None:
    aws.client("rds").modify_db_instance(DBInstanceIdentifier=NAME, MultiAZ=False, ApplyImmediately=True)
    done = script("rds-status", **aws.settings)

    assert done.stdout.splitlines() == [
        f"{NAME}: available, in eu-west-1",
        "Postgres 18 on db.t4g.micro, 20 GiB of gp3",
        f"PROD_CONNECTION_URL={URL}",
        f"password of cruddur_owner: {made['MasterUserSecret']['SecretArn']}",
        "encrypted storage: yes",
        "private address: yes",
        "deletion protection: yes",
        "week of backups: yes",
        "standby in another zone: no",
        "IAM authentication: yes",
        "master password in Secrets Manager: yes",
        "performance insights: no",
        "log exports: yes",
        "forced TLS: yes",
        "closed security group: yes",
    ]
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"cruddur: {NAME} has no standby in another zone (MultiAZ=False)",
        f"cruddur: {NAME} has no performance insights (PerformanceInsightsEnabled=None)",
    ]


def test_each_weakness_is_found_and_no_other(aws: Aws, made: Any) -> None:
    assert weak(aws, made) == []
    for name, key, value in WEAKER:
        assert weak(aws, made | {key: value}) == [name]


def test_more_than_we_ask_for_is_not_weak(aws: Aws, made: Any) -> None:
    more = {"BackupRetentionPeriod": 8, "EnabledCloudwatchLogsExports": ["upgrade", "iam-db-auth-error", "postgresql"]}

    assert weak(aws, made | more) == []


def test_tls_is_forced_once_the_parameter_is_in_force(aws: Aws, made: Any) -> None:
    rds = aws.client("rds")
    waiting = made["DBParameterGroups"][0] | {"ParameterApplyStatus": "pending-reboot"}
    assert weak(aws, made | {"DBParameterGroups": [waiting]}) == ["forced TLS"]

    off = {"ParameterName": "rds.force_ssl", "ParameterValue": "0", "ApplyMethod": "immediate"}
    rds.modify_db_parameter_group(DBParameterGroupName="cruddur-postgres18", Parameters=[off])
    assert weak(aws, made) == ["forced TLS"]

    rds.create_db_parameter_group(DBParameterGroupName="bare", DBParameterGroupFamily="postgres14", Description="-")
    bare = made["DBParameterGroups"][0] | {"DBParameterGroupName": "bare"}
    assert weak(aws, made | {"DBParameterGroups": [bare]}) == ["forced TLS"]


@pytest.mark.parametrize("everyone", ["0.0.0.0/0", "::/0", "0.0.0.0/1"])
def test_a_group_that_was_opened_to_everyone_is_named(aws: Aws, made: Any, everyone: str) -> None:
    groups = [*made["VpcSecurityGroups"], {"VpcSecurityGroupId": group(aws, everyone), "Status": "active"}]
    *_, check = checks(aws.client("rds"), aws.client("ec2"), made | {"VpcSecurityGroups": groups})

    assert (check.name, check.holds) == ("closed security group", False)
    assert check.found.startswith("everyone comes in by sgr-")


def test_the_url_is_one_that_our_scripts_take(made: Any) -> None:
    assert url(made) == URL
    assert check_connection_url(URL) == URL


def test_while_it_is_made_nothing_is_said_of_what_aws_tells_later(
    aws: Aws, made: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    later = {"Endpoint", "MasterUserSecret"}
    making = {name: value for name, value in made.items() if name not in later}
    report(aws.client("rds"), aws.client("ec2"), making | {"DBInstanceStatus": "creating", "MultiAZ": False})

    assert capsys.readouterr().out.splitlines() == [
        f"{NAME}: creating, in eu-west-1",
        "Postgres 18 on db.t4g.micro, 20 GiB of gp3",
        "it has no address yet",
        "password of cruddur_owner: not in Secrets Manager",
        "what keeps it safe is shown once it is available",
    ]
