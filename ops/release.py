"""Cut a release from a clean tree of the main branch: changelog, version, SBOM, one commit and an annotated tag.

Nothing is pushed. A failure in a step restores the files and the branch.
"""

import re
import subprocess
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lib.command_errors import CommandError
from ops.command import ROOT, run

BRANCH = "main"
PACKAGE = "cruddur-backend"
# Releases are git tags and versions of the changelog. Both have three numbers and no pre-releases.
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
CHANGELOG = "CHANGELOG.md"
HEADING = "## [Unreleased]\n"
# Git ignores this folder: the operator attaches the SBOM to the release on the forge.
OUTPUT = ROOT / "dist"


class Version(NamedTuple):
    """A semantic version. Its numbers are compared, not its text."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Return the version of a text such as `0.3.0`. Raises `CommandError`."""
        numbers = VERSION.fullmatch(text)
        if not numbers:
            raise CommandError(f"{text} is no version: a version is three numbers, such as 0.3.0")
        return cls(*map(int, numbers.groups()))

    def __str__(self) -> str:
        return ".".join(map(str, self))


def git(*arguments: str) -> str:
    """Return the output of git in the project's folder. Raises `CommandError` with git's own message."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"git {arguments[0]} failed: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout.rstrip("\n")


def present_version() -> Version:
    """Return the version in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return Version.parse(project["version"])


def unreleased_section() -> str:
    """Return the changelog's text below the heading of unreleased changes. Raises `CommandError` without a change."""
    _, heading, rest = (ROOT / CHANGELOG).read_text().partition(HEADING)
    section = rest.partition("\n## [")[0].strip()
    if not heading or not re.search(r"^- ", section, re.MULTILINE):
        raise CommandError(f"{CHANGELOG} has no change below {HEADING.strip()}: a release needs one")
    return section


def check_repository(version: Version, present: Version) -> None:
    """Raise `CommandError` unless this clone can cut the release."""
    if version <= present:
        raise CommandError(f"{version} is not greater than the present version, {present}")
    branch = git("branch", "--show-current")
    if branch != BRANCH:
        raise CommandError(f"a release is cut on {BRANCH}, and the present branch is {branch or 'none'}")
    if git("status", "--porcelain"):
        raise CommandError("the tree has changes or new files: commit them, or remove them (git status lists them)")
    if git("tag", "--list", tag_of(version)):
        raise CommandError(f"the tag {tag_of(version)} exists already")


def tag_of(version: Version) -> str:
    """Return the name of a version's tag."""
    return f"v{version}"


def edits(version: Version, present: Version) -> dict[str, dict[str, str]]:
    """Return for each file with the version the lines that change, old and new."""
    today = datetime.now(UTC).date().isoformat()
    changes = {
        CHANGELOG: {HEADING: f"{HEADING}\n## [{version}] - {today}\n"},
        "pyproject.toml": {f'version = "{present}"\n': f'version = "{version}"\n'},
        # The document's own version, and that in its example of itself.
        "backend-flask/openapi.yaml": {
            f"\n  version: {present}\n": f"\n  version: {version}\n",
            f"info: {{title: Cruddur, version: {present}}}": f"info: {{title: Cruddur, version: {version}}}",
        },
    }
    # Fixes are for the newest minor version.
    if version[:2] != present[:2]:
        changes["SECURITY.md"] = {
            f"| {line_of(present)}.x | yes |\n| before {line_of(present)}.0 | no |": (
                f"| {line_of(version)}.x | yes |\n| before {line_of(version)}.0 | no |"
            )
        }
    return changes


def line_of(version: Version) -> str:
    """Return major and minor version."""
    return f"{version.major}.{version.minor}"


def edited_texts(changes: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the new text of each file. Raises `CommandError` unless each old line stands in its file once."""
    texts = {}
    for name, lines in changes.items():
        text = (ROOT / name).read_text()
        for old, new in lines.items():
            if text.count(old) != 1:
                raise CommandError(f"{name} must have {old.strip()} once, and has it {text.count(old)} times")
            text = text.replace(old, new)
        texts[name] = text
    return texts


@contextmanager
def undone_after_a_failure(names: list[str], created: Path) -> Iterator[None]:
    """Restore the branch and the files, and remove the file `created`, unless the block succeeds."""
    before = git("rev-parse", "HEAD")
    is_done = False
    try:
        yield
        is_done = True
    finally:
        if not is_done:
            # Only our files: another file may have changed since the check of the tree.
            git("reset", "--quiet", "--soft", before)
            git("restore", "--staged", "--worktree", "--", *names)
            created.unlink(missing_ok=True)


def write_sbom(target: Path) -> None:
    """Write the software bill of materials. Raises `CommandError`."""
    target.parent.mkdir(exist_ok=True)
    with target.open("w") as output:
        done = subprocess.run([ROOT / "bin" / "sbom"], stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise CommandError(f"bin/sbom failed: {' '.join(done.stderr.split()).removeprefix('cruddur: ')}")


def cut(version: Version, texts: dict[str, str], notes: str) -> Path:
    """Write the files, the commit and the tag, or nothing at all. Return the path of the SBOM."""
    sbom = OUTPUT / f"{PACKAGE}-{version}.cdx.json"
    with undone_after_a_failure(list(texts), sbom):
        write_sbom(sbom)
        for name, text in texts.items():
            (ROOT / name).write_text(text)
        git("commit", "--quiet", "--message", f"Release {version}", "--", *texts)
        # By default git takes the changelog's headings, which begin with #, for comments.
        message = f"{PACKAGE} {version}\n\n{notes}\n"
        git("tag", "--annotate", "--cleanup=whitespace", "--message", message, tag_of(version))
    return sbom


def report(version: Version, sbom: Path) -> None:
    """Print what was made, and the commands for the next steps."""
    tag = tag_of(version)
    print(f"release {version}: commit {git('rev-parse', '--short', 'HEAD')}, tag {tag}, {sbom.relative_to(ROOT)}")
    print(f"push: git push --atomic origin {BRANCH} {tag}")
    print(f"build: docker build --file backend-flask/Dockerfile --tag {PACKAGE}:{version} .")


def main() -> None:
    """Cut the release of the argument."""
    parser = ArgumentParser(prog="bin/release", description=__doc__)
    parser.add_argument("version", metavar="VERSION", help="three numbers, greater than the present version")
    version, present = Version.parse(parser.parse_args().version), present_version()
    check_repository(version, present)
    notes = unreleased_section()
    report(version, cut(version, edited_texts(edits(version, present)), notes))


if __name__ == "__main__":
    run(main)
