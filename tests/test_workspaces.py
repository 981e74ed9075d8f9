"""Cloud workspaces: the start of Gitpod and of the devcontainer, with the commands of their own files."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest
from psycopg.conninfo import make_conninfo

from harness.ports import free_port
from harness.postgres import rows
from harness.processes import CLEAN
from ops.command import ROOT
from ops.create_database import ROLE
from tests.conftest import SERVICE_PASSWORD
from tests.processes import started
from tests.workspace_files import DEVCONTAINER, GITPOD

RULE = {"DB_SG_ID": "sg-1", "DB_SG_RULE_ID": "sgr-1"}
ADDRESS = "203.0.114.7"


class Start(NamedTuple):
    """The start of a workspace: the commands of its file, and the settings of its provider."""

    commands: list[str]
    settings: dict[str, str]
    frontend: str
    backend: str


# Each command runs only after the success of the previous one.
STARTS = {
    "Gitpod, the first": Start(
        [GITPOD["tasks"][0][name] for name in ("init", "command")],
        {"GITPOD_WORKSPACE_URL": "https://cruddur.ws-eu1.gitpod.io"},
        "https://3000-cruddur.ws-eu1.gitpod.io",
        "https://{port}-cruddur.ws-eu1.gitpod.io",
    ),
    "Codespaces": Start(
        [DEVCONTAINER[name] for name in ("updateContentCommand", "postStartCommand", "postAttachCommand")],
        {"CODESPACE_NAME": "cruddur-x7", "GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN": "app.github.dev"},
        "https://cruddur-x7-3000.app.github.dev",
        "https://cruddur-x7-{port}.app.github.dev",
    ),
    "any other, not its first": Start(
        [DEVCONTAINER[name] for name in ("postStartCommand", "postAttachCommand")],
        {},
        "http://localhost:3000",
        "http://localhost:{port}",
    ),
}
# A starting session has no user yet.
SERVES_AS = """
    SELECT DISTINCT usename FROM pg_stat_activity
    WHERE application_name = 'cruddur' AND datname = current_database() AND usename IS NOT NULL
"""
PROGRAMS = {
    "gp": '[ "$1" = url ] && echo "https://$2-cruddur.ws-eu1.gitpod.io"',
    "docker": 'echo "$@"',
    "curl": "exit 6",
}


def install_program(tmp_path: Path, name: str, does: str) -> None:
    """Install a program for the workspace, which records its arguments."""
    program = tmp_path / "programs" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "$@" >> "$0.asked"\n{does}\n')
    program.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a PATH with a workspace's programs: Gitpod's `gp`, a `docker`, and a `curl` that gets no response."""
    for name, does in PROGRAMS.items():
        install_program(tmp_path, name, does)
    return f"{tmp_path / 'programs'}:{os.environ['PATH']}"


def recorded_calls(tmp_path: Path, name: str) -> list[str]:
    """Return the arguments of each call of a program, one line per call."""
    file = tmp_path / "programs" / f"{name}.asked"
    return file.read_text().splitlines() if file.exists() else []


@contextmanager
def working(start: Start, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a workspace: run its commands in a shell, as the provider does, and yield the process."""
    command = " && ".join(f"{{ {command}\n}}" for command in start.commands)
    with started(["bash", "-c", command], **start.settings, **settings) as process:
        try:
            yield process
        finally:
            # Signal all processes, as a closed terminal does.
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTS)
def test_workspace_serves_the_seeded_feed_without_access_to_rds(
    name: str, new_url: str, tmp_path: Path, path: str
) -> None:
    start, port = STARTS[name], free_port()
    service_url = make_conninfo(new_url, user=ROLE, password=SERVICE_PASSWORD)
    database = {"CONNECTION_URL": new_url, "SERVICE_CONNECTION_URL": service_url}

    settings = {"PATH": path, "PORT": port, "CRUDDUR_DATA_DIR": str(tmp_path / "home"), **database, **RULE}
    with working(start, **settings) as process:
        assert process.stdout is not None
        first_line = f"Cruddur is at {start.backend.format(port=port)}/\n"
        assert first_line in iter(process.stdout.readline, "")
        connection = HTTPConnection("127.0.0.1", int(port), timeout=5)
        connection.request("GET", "/api/activities/home", headers={"Origin": start.frontend})
        response = connection.getresponse()
        assert b"This was imported as seed data!" in response.read()
        assert response.headers["Access-Control-Allow-Origin"] == start.frontend
        connection.close()
        assert rows(new_url, SERVES_AS) == [(ROLE,)]

    assert len(recorded_calls(tmp_path, "curl")) == 1
    assert recorded_calls(tmp_path, "docker") == (["compose up --wait db"] if "Gitpod" in name else [])


def test_configured_frontend_url_is_kept(tmp_path: Path) -> None:
    project = tmp_path / "a project"
    (project / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "bin" / "workspace", project / "bin" / "workspace")
    (project / "bin" / "dev").write_text('#!/bin/sh\necho "$FRONTEND_URL $BACKEND_URL"\n')
    (project / "bin" / "dev").chmod(0o755)
    settings = {"FRONTEND_URL": "https://cruddur.com", **STARTS["Codespaces"].settings}

    result = subprocess.run([project / "bin" / "workspace"], env=CLEAN | settings, capture_output=True, check=True)

    assert result.stdout == b"https://cruddur.com https://cruddur-x7-4567.app.github.dev\n"


def update(tmp_path: Path, path: str, **settings: str) -> tuple[list[str], str]:
    """Run bin/workspace-rule, which must succeed, with an rds-update-sg-rule that exits with STATUS.

    Return the settings that rds-update-sg-rule received, line by line, and standard error.
    """
    install_program(tmp_path, "curl", f"echo {ADDRESS}")
    scripts = tmp_path / "a project" / "bin"
    scripts.mkdir(parents=True)
    shutil.copy(ROOT / "bin" / "workspace-rule", scripts)
    (scripts / "rds-update-sg-rule").write_text(
        '#!/bin/sh\necho "$DB_SG_ID $DB_SG_RULE_ID $GITPOD_IP" >> "$0.told"\nexit "$STATUS"\n'
    )
    (scripts / "rds-update-sg-rule").chmod(0o755)
    environ = CLEAN | {"PATH": path, "STATUS": "0", **settings}
    result = subprocess.run([scripts / "workspace-rule"], env=environ, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")
    record = scripts / "rds-update-sg-rule.told"
    return record.read_text().splitlines() if record.exists() else [], result.stderr


def test_rule_gets_the_workspaces_current_address(tmp_path: Path, path: str) -> None:
    updates, output = update(tmp_path, path, **RULE, GITPOD_IP="198.51.100.9")

    assert (updates, output) == ([f"sg-1 sgr-1 {ADDRESS}"], "")
    (words,) = recorded_calls(tmp_path, "curl")
    assert "--max-time 5" in words
    assert words.endswith(" https://checkip.amazonaws.com")


@pytest.mark.parametrize("settings", [{}, {"DB_SG_ID": "sg-1"}, {"DB_SG_ID": "", "DB_SG_RULE_ID": "sgr-1"}])
def test_missing_rule_setting_requests_no_address(tmp_path: Path, path: str, settings: dict[str, str]) -> None:
    assert update(tmp_path, path, **settings) == ([], "")
    assert recorded_calls(tmp_path, "curl") == []


def test_failed_rule_update_is_reported_and_stops_nothing(tmp_path: Path, path: str) -> None:
    updates, output = update(tmp_path, path, **RULE, STATUS="1")

    assert len(updates) == 1
    assert output.startswith("cruddur: RDS does not let this workspace in: ")


def test_refused_address_is_reported_and_stops_nothing(tmp_path: Path, path: str) -> None:
    install_program(tmp_path, "curl", "echo 10.0.0.1")
    script = [ROOT / "bin" / "workspace-rule"]

    result = subprocess.run(script, env=CLEAN | RULE | {"PATH": path}, capture_output=True, text=True, check=False)

    assert result.returncode == 0
    assert [line.split(" ")[1] for line in result.stderr.splitlines()] == ["GITPOD_IP", "RDS"]
