"""The instance on Amazon RDS once it is there: stopped, started and deleted, and nobody else's touched."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lib.command_errors import CommandError
from ops.rds import failures
from tests.aws import NAME, Aws, instance
from tests.in_process import fails, script, succeeds

pytestmark = pytest.mark.slow

PROTECTED = (
    f"cruddur: {NAME} is protected from deletion, and nothing was done: bin/rds-delete {NAME} --remove-protection"
)


def make(aws: Aws, name: str, *, protected: bool = True) -> None:
    """An instance of that name."""
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
    """Somebody else's instance, not protected by anything but us. A test that touches it fails at its end."""

    def seen() -> Any:
        found = instance(aws, "another")
        return {
            name: value for name, value in found.items() if name not in {"LatestRestorableTime", "MasterUserSecret"}
        }

    make(aws, "another", protected=False)
    before = seen()
    yield
    assert seen() == before


def status(aws: Aws) -> str:
    """The instance's state."""
    return str(instance(aws)["DBInstanceStatus"])


def snapshots(aws: Aws) -> list[str]:
    """The snapshots that somebody has asked for."""
    found = aws.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    return [snapshot["DBSnapshotIdentifier"] for snapshot in found]


def test_an_instance_stops_and_says_when_it_starts_again(aws: Aws) -> None:
    make(aws, NAME)
    in_a_week = [f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}"]
    said = succeeds("rds-stop", **aws.settings)
    in_a_week.append(f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}")

    assert status(aws) == "stopped"
    assert any(f"AWS starts it again by itself after 7 days, on {day}" in said for day in in_a_week)
    assert succeeds("rds-stop", **aws.settings) == f"{NAME} is stopped already\n"
    assert len(aws.asked("StopDBInstance")) == 1


def test_an_instance_starts(aws: Aws) -> None:
    make(aws, NAME)
    aws.client("rds").stop_db_instance(DBInstanceIdentifier=NAME)
    said = succeeds("rds-start", **aws.settings)

    assert status(aws) == "available"
    assert said.startswith(f"{NAME} is starting")
    assert succeeds("rds-start", **aws.settings) == f"{NAME} is available already\n"
    assert len(aws.asked("StartDBInstance")) == 1


def test_what_the_state_forbids_names_the_way_out(aws: Aws) -> None:
    with (
        pytest.raises(
            CommandError, match=r"AWS refused StartDBInstance: .* \(InvalidDBInstanceState\): try again when bin/"
        ),
        failures(),
    ):
        aws.client("rds").start_db_instance(DBInstanceIdentifier="another")


@pytest.mark.parametrize("name", ["rds-start", "rds-stop", "rds-status", "rds-delete"])
def test_an_instance_that_is_missing_is_one_line(aws: Aws, name: str) -> None:
    line = fails(name, "none", **aws.settings)

    assert line == "cruddur: there is no instance none in eu-west-1: bin/rds-create makes one"


def test_a_protected_instance_is_not_deleted_by_its_name_alone(aws: Aws) -> None:
    make(aws, NAME)

    assert fails("rds-delete", "--confirm", NAME, **aws.settings).startswith(PROTECTED)
    assert status(aws) == "available"
    assert instance(aws)["DeletionProtection"]


@pytest.mark.parametrize("answer", ["", "cruddur\n", f"{NAME.upper()}\n"])
def test_an_instance_is_not_deleted_without_its_name(aws: Aws, answer: str) -> None:
    make(aws, NAME)
    line = fails("rds-delete", "--remove-protection", answer=answer, **aws.settings)

    assert line == f"cruddur: nothing was done: the name typed is not {NAME}"
    assert status(aws) == "available"
    assert instance(aws)["DeletionProtection"]
    assert snapshots(aws) == []


def test_whoever_types_its_name_deletes_it_after_a_snapshot(aws: Aws) -> None:
    make(aws, NAME)
    done = script("rds-delete", "--remove-protection", answer=f"{NAME}\n", **aws.settings)

    assert done.returncode == 0
    assert done.stderr.startswith(f"This deletes the instance {NAME} in eu-west-1, with every database in it.\n")
    (kept,) = snapshots(aws)
    assert kept.startswith(f"{NAME}-final-20")
    assert f"in the snapshot {kept} until somebody deletes that" in done.stdout
    assert "in its automated backups for 7 days" in done.stdout
    (asked,) = aws.asked("DeleteDBInstance")
    assert (asked["SkipFinalSnapshot"], asked["DeleteAutomatedBackups"]) == ("false", "false")
    left = aws.client("rds").describe_db_instances()["DBInstances"]
    assert [each["DBInstanceIdentifier"] for each in left] == ["another"]


def test_the_name_may_be_an_argument(aws: Aws) -> None:
    make(aws, NAME, protected=False)
    assert "nothing was done" in fails("rds-delete", "--confirm", "another", **aws.settings)

    succeeds("rds-delete", "--confirm", NAME, **aws.settings)
    assert len(snapshots(aws)) == 1
    assert aws.asked("ModifyDBInstance") == []
