"""A git repository of the project's present files, for commands that write into their own repository."""

import shutil
import subprocess
from pathlib import Path

from harness.processes import CLEAN
from harness.waiting import SECONDS
from ops.command import ROOT

# No settings of the developer's git.
ENVIRON = CLEAN | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


class Repository:
    """A repository with the project's present files in one commit on `main`, and the tests' packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in listed.stdout.splitlines():
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Andrew Brown")
        self.git("config", "user.email", "andrew@example.com")
        self.commit()

    def git(self, *arguments: str) -> str:
        """Run git to a successful end, and return its output."""
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=ENVIRON, capture_output=True, text=True, check=True)
        return done.stdout

    def commit(self) -> None:
        """Commit all files."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "Begin")

    def release(self, version: str) -> "subprocess.CompletedProcess[str]":
        """Run `bin/release` to its end."""
        command = [str(self.folder / "bin" / "release"), version]
        return subprocess.run(command, env=ENVIRON, capture_output=True, text=True, timeout=SECONDS, check=False)

    def read(self, name: str) -> str:
        """Return a file's text."""
        return (self.folder / name).read_text()

    def files(self) -> dict[str, bytes]:
        """Return the content of each file, except for those of git and of the packages."""
        hidden = {".git", ".venv", ".venv.lock", "__pycache__"}
        paths = [path for path in self.folder.rglob("*") if not hidden & set(path.relative_to(self.folder).parts)]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths if path.is_file()}

    def state(self) -> tuple[str, str, str, dict[str, bytes]]:
        """Return all that a release changes: commits, tags, the tree's changes and the files."""
        history = self.git("log", "--all", "--format=%H %D")
        return history, self.git("for-each-ref"), self.git("status", "--porcelain"), self.files()


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """Return the names of the files that differ."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
