"""The scripts in a clone: from any folder, by a symlink, whatever the caller's shell and git are set to."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.processes import CLEAN
from harness.waiting import SECONDS
from ops.command import ROOT

pytestmark = pytest.mark.slow

ROOT_LINE = 'root=$(dirname "$(dirname "$(readlink -f "$0")")")'
SCRIPTS = [*sorted((ROOT / "bin").iterdir()), ROOT / ".ci" / "run", ROOT / ".ci" / "compose"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in a path with a space, and beside it, in `elsewhere`, another one."""
    for name in ("a clone", "elsewhere"):
        (tmp_path / name / "bin").mkdir(parents=True)
    return tmp_path / "a clone"


def prints_root(script: Path, folder: Path) -> Path:
    """Put what a script does until it knows its root into a folder, and have it print that root."""
    lines = script.read_text().splitlines()
    known = lines.index(ROOT_LINE) + 1
    # bin/test and the like go on from there.
    rest = [line for line in lines[known:] if line == 'cd "$root"']
    copy = folder / script.name
    copy.write_text("\n".join([*lines[:known], *rest, 'echo "$root"', *(["pwd"] if rest else [])]) + "\n")
    copy.chmod(0o755)
    return copy


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_finds_its_clone_from_wherever_it_is_called(clone: Path, script: Path) -> None:
    elsewhere = clone.parent / "elsewhere"
    copy = prints_root(script, clone / "bin")
    link = elsewhere / "a link"
    link.symlink_to(copy)
    (elsewhere / "folder").symlink_to(clone / "bin")
    environ = CLEAN | {"CDPATH": f".:{elsewhere}:{clone.parent}", "PATH": f"{copy.parent}:{CLEAN['PATH']}"}
    calls: list[tuple[list[str], Path]] = [
        ([f"bin/{copy.name}"], clone),
        (["bash", f"bin/{copy.name}"], clone),
        ([f"./{copy.name}"], copy.parent),
        (["bash", copy.name], copy.parent),
        ([f"../a clone/bin/{copy.name}"], elsewhere),
        (["./a link"], elsewhere),
        ([str(link)], clone),
        ([f"folder/{copy.name}"], elsewhere),
        (["env", copy.name], elsewhere),
    ]

    for command, folder in calls:
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr, set(done.stdout.splitlines())) == (0, "", {str(clone)}), command


def test_no_script_knows_another_way_to_its_clone() -> None:
    for script in SCRIPTS:
        text = script.read_text().replace(ROOT_LINE, "")
        assert not re.search(r"\$0|BASH_SOURCE", text), script.name


def test_the_folder_of_the_caller_holds_none_of_our_modules(tmp_path: Path) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "__init__.py").write_text("raise SystemExit('of the caller')")

    done = subprocess.run(
        [ROOT / "bin" / "db-drop", "--help"], cwd=tmp_path, env=CLEAN, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_python_that_is_set_up_elsewhere_is_not_ours() -> None:
    environ = CLEAN | {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere"}

    done = subprocess.run(
        [ROOT / "bin" / "db-drop", "--help"], env=environ, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_clone_by_a_git_that_is_set_up_for_windows_has_no_crlf_and_its_scripts_run(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git = shutil.which("git") or "git"
    subprocess.run(
        [git, "clone", "-q", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", ROOT, clone],
        check=True,
        timeout=SECONDS,
    )
    (clone / "nothing.txt").touch()

    files = [path for path in clone.rglob("*") if path.is_file() and ".git" not in path.relative_to(clone).parts]
    assert len(files) > 300
    assert [path for path in files if b"\r\n" in path.read_bytes()] == []
    done = subprocess.run([clone / "bin" / "venv", "nothing.txt"], env=CLEAN, check=False, timeout=SECONDS)
    assert done.returncode == 0
