"""The scripts in a clone: from any folder, by a symlink, with any settings of the caller's shell and git."""

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
    """Create a clone in a path with a space, and next to it another one in `elsewhere`."""
    for name in ("a clone", "elsewhere"):
        (tmp_path / name / "bin").mkdir(parents=True)
    return tmp_path / "a clone"


def copy_printing_root(script: Path, folder: Path) -> Path:
    """Copy a script's lines up to its root into a folder, and append commands that print the root."""
    lines = script.read_text().splitlines()
    end_of_preamble = lines.index(ROOT_LINE) + 1
    # Scripts such as bin/test change into the root.
    rest = [line for line in lines[end_of_preamble:] if line == 'cd "$root"']
    copy = folder / script.name
    copy.write_text("\n".join([*lines[:end_of_preamble], *rest, 'echo "$root"', *(["pwd"] if rest else [])]) + "\n")
    copy.chmod(0o755)
    return copy


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script_finds_its_clone_from_any_folder(clone: Path, script: Path) -> None:
    elsewhere = clone.parent / "elsewhere"
    copy = copy_printing_root(script, clone / "bin")
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
        result = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr, set(result.stdout.splitlines())) == (0, "", {str(clone)}), command


def test_scripts_share_one_way_to_find_the_root() -> None:
    for script in SCRIPTS:
        text = script.read_text().replace(ROOT_LINE, "")
        assert not re.search(r"\$0|BASH_SOURCE", text), script.name


def test_modules_in_the_callers_folder_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "__init__.py").write_text("raise SystemExit('of the caller')")

    result = subprocess.run(
        [ROOT / "bin" / "db-drop", "--help"], cwd=tmp_path, env=CLEAN, capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_callers_python_variables_are_ignored() -> None:
    environ = CLEAN | {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere"}

    result = subprocess.run(
        [ROOT / "bin" / "db-drop", "--help"], env=environ, capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")


def test_clone_with_git_set_to_crlf_has_no_crlf_and_its_scripts_run(tmp_path: Path) -> None:
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
    # The signature of a PNG contains CRLF.
    assert [path for path in files if path.suffix != ".png" and b"\r\n" in path.read_bytes()] == []
    result = subprocess.run([clone / "bin" / "venv", "nothing.txt"], env=CLEAN, check=False, timeout=SECONDS)
    assert result.returncode == 0
