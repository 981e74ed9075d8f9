"""bin/venv: what it makes, and what it says when it can't."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.command import ROOT
from tests.running import CLEAN

NOTHING = "nothing.txt"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that needs no package, in a path with a space in it."""
    project = tmp_path / "a project"
    for name in ("bin/venv", "ops/venv.py"):
        (project / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, project / name)
    (project / NOTHING).touch()
    return project


def start(project: Path, **settings: str) -> "subprocess.Popen[str]":
    """Start to make the environment of `project`."""
    script = [str(project / "bin" / "venv"), NOTHING]
    return subprocess.Popen(script, env=CLEAN | settings, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """How it ended, and what it said."""
    out, err = process.communicate(timeout=60)
    assert out == ""
    return process.returncode, err


def test_two_at_once_make_one_environment(project: Path) -> None:
    both = [start(project), start(project)]

    said = sorted(ended(process) for process in both)

    assert said == [(0, ""), (0, f"cruddur: installing {NOTHING} into .venv\n")]
    assert subprocess.run([project / ".venv" / "bin" / "python", "-c", "import pip"], check=False).returncode == 0


def test_an_environment_that_stands_is_left_alone_until_the_requirements_change(project: Path) -> None:
    assert ended(start(project))[1] != ""
    assert ended(start(project)) == (0, "")

    (project / NOTHING).write_text("# another\n")
    assert ended(start(project)) == (0, f"cruddur: installing {NOTHING} into .venv\n")


def test_an_environment_whose_python_is_gone_is_made_anew(project: Path) -> None:
    ended(start(project))
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")

    assert ended(start(project)) == (0, f"cruddur: installing {NOTHING} into .venv\n")
    assert subprocess.run([python, "-c", ""], check=False).returncode == 0


def test_an_environment_that_was_interrupted_before_it_had_a_pip_is_made_anew(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / ".venv"], check=True)

    assert ended(start(project)) == (0, f"cruddur: installing {NOTHING} into .venv\n")


def test_a_requirement_without_its_hash_is_not_installed_and_tried_again(project: Path) -> None:
    (project / NOTHING).write_text("flask==3.1.3\n")

    for _ in range(2):
        status, said = ended(start(project))
        assert status == 1
        assert "hash" in said.lower()
        assert said.endswith(f"cruddur: {NOTHING} could not be installed: see above; run this again to go on\n")


def test_a_python_without_venv_is_told_what_to_install(project: Path, tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError")

    status, said = ended(start(project, PYTHONPATH=str(tmp_path)))

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (status, said.count("\n")) == (1, 1)
    assert said.endswith(f"(on Debian and Ubuntu: apt install python{version}-venv)\n")


def test_a_machine_without_a_python_that_is_new_enough_is_told(project: Path, tmp_path: Path) -> None:
    for name in ("python3", "python3.11"):
        old = tmp_path / name
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
    for name in ("env", "bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")

    status, said = ended(start(project, PATH=str(tmp_path)))

    assert status == 1
    assert said == "cruddur: no Python 3.11 or newer on the PATH: install one, with its venv module\n"
