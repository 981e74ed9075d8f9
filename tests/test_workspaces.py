"""Workspaces in the cloud: what Gitpod and the devcontainer run when one starts, with their own commands."""

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
    """How a workspace starts: the commands of its file, and what its maker sets."""

    commands: list[str]
    settings: dict[str, str]
    frontend: str
    backend: str


# Each command runs only when those before it went well.
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
# A session that only begins has no user yet.
SERVES_AS = """
    SELECT DISTINCT usename FROM pg_stat_activity
    WHERE application_name = 'cruddur' AND datname = current_database() AND usename IS NOT NULL
"""
PROGRAMS = {
    "gp": '[ "$1" = url ] && echo "https://$2-cruddur.ws-eu1.gitpod.io"',
    "docker": 'echo "$@"',
    "curl": "exit 6",
}


def put(tmp_path: Path, name: str, does: str) -> None:
    """Put a program into the workspace's folder of them, which keeps the words that it is given."""
    program = tmp_path / "programs" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "$@" >> "$0.asked"\n{does}\n')
    program.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with what a workspace has: Gitpod's `gp`, a `docker`, and a `curl` that gets no answer."""
    for name, does in PROGRAMS.items():
        put(tmp_path, name, does)
    return f"{tmp_path / 'programs'}:{os.environ['PATH']}"


def asked(tmp_path: Path, name: str) -> list[str]:
    """What a program was asked, a line each time."""
    file = tmp_path / "programs" / f"{name}.asked"
    return file.read_text().splitlines() if file.exists() else []


@contextmanager
def working(start: Start, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    """A workspace that has started: what ran at the end, in a shell of its own as its maker runs it."""
    command = " && ".join(f"{{ {command}\n}}" for command in start.commands)
    with started(["bash", "-c", command], **start.settings, **settings) as process:
        try:
            yield process
        finally:
            # As a terminal that is closed: all of it.
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTS)
def test_a_start_serves_the_seeded_feed_also_when_rds_can_not_be_reached(
    name: str, new_url: str, tmp_path: Path, path: str
) -> None:
    start, port = STARTS[name], free_port()
    service_url = make_conninfo(new_url, user=ROLE, password=SERVICE_PASSWORD)
    database = {"CONNECTION_URL": new_url, "SERVICE_CONNECTION_URL": service_url}

    settings = {"PATH": path, "PORT": port, "CRUDDUR_DATA_DIR": str(tmp_path / "home"), **database, **RULE}
    with working(start, **settings) as process:
        assert process.stdout is not None
        says = f"Cruddur serves its feed at {start.backend.format(port=port)}/api/activities/home\n"
        assert says in iter(process.stdout.readline, "")
        connection = HTTPConnection("127.0.0.1", int(port), timeout=5)
        connection.request("GET", "/api/activities/home", headers={"Origin": start.frontend})
        answer = connection.getresponse()
        assert b"This was imported as seed data!" in answer.read()
        assert answer.headers["Access-Control-Allow-Origin"] == start.frontend
        connection.close()
        assert rows(new_url, SERVES_AS) == [(ROLE,)]

    assert len(asked(tmp_path, "curl")) == 1
    assert asked(tmp_path, "docker") == (["compose up --wait db"] if "Gitpod" in name else [])


def test_an_address_of_ones_own_is_kept(tmp_path: Path) -> None:
    project = tmp_path / "a project"
    (project / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "bin" / "workspace", project / "bin" / "workspace")
    (project / "bin" / "dev").write_text('#!/bin/sh\necho "$FRONTEND_URL $BACKEND_URL"\n')
    (project / "bin" / "dev").chmod(0o755)
    settings = {"FRONTEND_URL": "https://cruddur.com", **STARTS["Codespaces"].settings}

    done = subprocess.run([project / "bin" / "workspace"], env=CLEAN | settings, capture_output=True, check=True)

    assert done.stdout == b"https://cruddur.com https://cruddur-x7-4567.app.github.dev\n"


def update(tmp_path: Path, path: str, **settings: str) -> tuple[list[str], str]:
    """Run bin/workspace-rule, which never fails, with a script of the rule's that exits with STATUS.

    What that script was told, and what was said.
    """
    put(tmp_path, "curl", f"echo {ADDRESS}")
    scripts = tmp_path / "a project" / "bin"
    scripts.mkdir(parents=True)
    shutil.copy(ROOT / "bin" / "workspace-rule", scripts)
    (scripts / "rds-update-sg-rule").write_text(
        '#!/bin/sh\necho "$DB_SG_ID $DB_SG_RULE_ID $GITPOD_IP" >> "$0.told"\nexit "$STATUS"\n'
    )
    (scripts / "rds-update-sg-rule").chmod(0o755)
    environ = CLEAN | {"PATH": path, "STATUS": "0", **settings}
    done = subprocess.run([scripts / "workspace-rule"], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    told = scripts / "rds-update-sg-rule.told"
    return told.read_text().splitlines() if told.exists() else [], done.stderr


def test_the_rule_gets_the_address_of_this_start_and_not_one_that_was_kept(tmp_path: Path, path: str) -> None:
    told, said = update(tmp_path, path, **RULE, GITPOD_IP="198.51.100.9")

    assert (told, said) == ([f"sg-1 sgr-1 {ADDRESS}"], "")
    (words,) = asked(tmp_path, "curl")
    assert "--max-time 5" in words
    assert words.endswith(" https://checkip.amazonaws.com")


@pytest.mark.parametrize("settings", [{}, {"DB_SG_ID": "sg-1"}, {"DB_SG_ID": "", "DB_SG_RULE_ID": "sgr-1"}])
def test_without_a_rule_nobody_is_asked_for_the_address(tmp_path: Path, path: str, settings: dict[str, str]) -> None:
    assert update(tmp_path, path, **settings) == ([], "")
    assert asked(tmp_path, "curl") == []


def test_a_rule_that_can_not_be_changed_stops_nothing_and_is_told(tmp_path: Path, path: str) -> None:
    told, said = update(tmp_path, path, **RULE, STATUS="1")

    assert len(told) == 1
    assert said.startswith("cruddur: RDS does not let this workspace in: ")


def test_what_the_rules_own_script_refuses_stops_nothing_and_is_told(tmp_path: Path, path: str) -> None:
    put(tmp_path, "curl", "echo 10.0.0.1")
    script = [ROOT / "bin" / "workspace-rule"]

    done = subprocess.run(script, env=CLEAN | RULE | {"PATH": path}, capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert [line.split(" ")[1] for line in done.stderr.splitlines()] == ["GITPOD_IP", "RDS"]
