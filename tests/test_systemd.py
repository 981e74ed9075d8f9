"""docs/cruddur.service: compared with the service's constants, and checked by systemd itself."""

import re
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from harness.processes import program
from ops.command import ROOT
from serve import DESCRIPTORS, STOP_SECONDS
from tests.compose import config

UNIT = ROOT / "docs" / "cruddur.service"
ANALYZE = program("systemd-analyze")
# systemd's own scale: up to 2 is OK, from 9 on UNSAFE.
EXPOSURE = 2.0


@pytest.fixture
def service() -> dict[str, str]:
    """Return the settings of the section `Service`. A setting that stands twice has its last value."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return dict(parser["Service"])


def test_stop_leaves_time_for_drain_and_requests(service: dict[str, str]) -> None:
    assert int(service["TimeoutStopSec"]) > STOP_SECONDS
    assert config()["services"]["backend"]["stop_grace_period"] == f"{service['TimeoutStopSec']}s"
    # The workers must not get the signal: only the main process drains.
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")


def test_limits_and_user_fit_the_service(service: dict[str, str]) -> None:
    assert int(service["LimitNOFILE"]) == DESCRIPTORS
    assert service["User"] != "root"
    assert service["ExecStart"].removeprefix("/srv/cruddur/") == "bin/serve"
    assert (service["ProtectSystem"], service["NoNewPrivileges"], service["CapabilityBoundingSet"]) == (
        "strict",
        "yes",
        "",
    )
    # The ledger of deletions has the only folder that can be written, besides /tmp.
    assert f"DELETION_LEDGER=/var/lib/{service['StateDirectory']}/" in UNIT.read_text()


def analyze(*arguments: str | Path) -> str:
    """Return the output of systemd-analyze, which must find no fault."""
    done = subprocess.run([str(ANALYZE), *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit_and_calls_it_safe(tmp_path: Path) -> None:
    # systemd wants the program to exist.
    unit = tmp_path / "cruddur.service"
    unit.write_text(UNIT.read_text().replace("ExecStart=/srv/cruddur/bin/serve", "ExecStart=/bin/true"))

    analyze("verify", "--man=no", unit)
    report = analyze("security", "--offline=true", "--no-pager", unit)

    (exposure,) = re.findall(r"Overall exposure level for cruddur\.service: (\d\.\d)", report)
    assert float(exposure) <= EXPOSURE
