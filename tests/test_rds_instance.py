"""Commands for an existing RDS instance: stop, start and delete, without touching other instances."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lib.command_errors import CommandError
from ops.rds import translate_aws_errors
from tests.aws import NAME, Aws, instance
from tests.in_process import fails, script, succeeds

pytestmark = pytest.mark.slow

PROTECTED = (
    f"cruddur: {NAME} is protected from deletion, and nothing was done: bin/rds-delete {NAME} --remove-protection"
)


def make(aws: Aws, name: str, *, protected: bool = True) -> None:
    """Create an instance."""
    aws.client("rds").create_db_instance(
        DBInstanceIdentifier=name,
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        EngineVersion="18",
        AllocatedStorage=20,
        BackupRetentionPeriod=7,
        MasterUsername="somebody",
        ManageMasterUserPassword=True,
        DeletionProtection=protected,
    )


@pytest.fixture(autouse=True)
def another(aws: Aws) -> Iterator[None]:
    """Create an unprotected instance of another owner. A test that touches it fails at its end."""

    def description() -> Any:
        instance_ = instance(aws, "another")
        return {
            name: value for name, value in instance_.items() if name not in {"LatestRestorableTime", "MasterUserSecret"}
        }

    make(aws, "another", protected=False)
    before = description()
    yield
    assert description() == before


def status(aws: Aws) -> str:
    """Return the instance's state."""
    return str(instance(aws)["DBInstanceStatus"])


def snapshots(aws: Aws) -> list[str]:
    """Return the names of the manual snapshots."""
    manual = aws.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    return [snapshot["DBSnapshotIdentifier"] for snapshot in manual]


def test_stopped_instance_reports_its_automatic_restart(aws: Aws) -> None:
    make(aws, NAME)
    in_a_week = [f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}"]
    output = succeeds("rds-stop", **aws.settings)
    in_a_week.append(f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}")

    assert status(aws) == "stopped"
    assert any(f"AWS starts it again by itself after 7 days, on {day}" in output for day in in_a_week)
    assert succeeds("rds-stop", **aws.settings) == f"{NAME} is stopped already\n"
    assert len(aws.asked("StopDBInstance")) == 1


def test_stopped_instance_is_started(aws: Aws) -> None:
    make(aws, NAME)
    aws.client("rds").stop_db_instance(DBInstanceIdentifier=NAME)
    output = succeeds("rds-start", **aws.settings)

    assert status(aws) == "available"
    assert output.startswith(f"{NAME} is starting")
    assert succeeds("rds-start", **aws.settings) == f"{NAME} is available already\n"
    assert len(aws.asked("StartDBInstance")) == 1


def test_error_of_an_invalid_state_names_the_remedy(aws: Aws) -> None:
    with (
        pytest.raises(
            CommandError, match=r"AWS refused StartDBInstance: .* \(InvalidDBInstanceState\): try again when bin/"
        ),
        translate_aws_errors(),
    ):
        aws.client("rds").start_db_instance(DBInstanceIdentifier="another")


@pytest.mark.parametrize("name", ["rds-start", "rds-stop", "rds-status", "rds-delete"])
def test_missing_instance_is_one_error_line(aws: Aws, name: str) -> None:
    line = fails(name, "none", **aws.settings)

    assert line == "cruddur: no instance none in eu-west-1: bin/rds-create creates one"


def test_protected_instance_needs_another_option_to_be_deleted(aws: Aws) -> None:
    make(aws, NAME)

    assert fails("rds-delete", "--confirm", NAME, **aws.settings).startswith(PROTECTED)
    assert status(aws) == "available"
    assert instance(aws)["DeletionProtection"]


@pytest.mark.parametrize("answer", ["", "cruddur\n", f"{NAME.upper()}\n"])
def test_wrong_name_deletes_nothing(aws: Aws, answer: str) -> None:
    make(aws, NAME)
    line = fails("rds-delete", "--remove-protection", answer=answer, **aws.settings)

    assert line == f"cruddur: nothing was done: the name typed is not {NAME}"
    assert status(aws) == "available"
    assert instance(aws)["DeletionProtection"]
    assert snapshots(aws) == []


def test_typed_name_deletes_the_instance_after_a_snapshot(aws: Aws) -> None:
    make(aws, NAME)
    result = script("rds-delete", "--remove-protection", answer=f"{NAME}\n", **aws.settings)

    assert result.returncode == 0
    assert result.stderr.startswith(f"This deletes the instance {NAME} in eu-west-1, with every database in it.\n")
    (snapshot,) = snapshots(aws)
    assert snapshot.startswith(f"{NAME}-final-20")
    assert f"in the snapshot {snapshot} until you delete that" in result.stdout
    assert "in automated backups for 7 days" in result.stdout
    (request,) = aws.asked("DeleteDBInstance")
    assert (request["SkipFinalSnapshot"], request["DeleteAutomatedBackups"]) == ("false", "false")
    remaining = aws.client("rds").describe_db_instances()["DBInstances"]
    assert [each["DBInstanceIdentifier"] for each in remaining] == ["another"]


def test_name_may_be_confirmed_by_an_argument(aws: Aws) -> None:
    make(aws, NAME, protected=False)
    assert "nothing was done" in fails("rds-delete", "--confirm", "another", **aws.settings)

    succeeds("rds-delete", "--confirm", NAME, **aws.settings)
    assert len(snapshots(aws)) == 1
    assert aws.asked("ModifyDBInstance") == []
