"""bin/release in a repository of its own: a release from end to end, refusals, and failures in a step."""

import json
import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from ops.command import ROOT
from ops.release import unreleased_section
from tests.processes import error_line, output
from tests.repository import Repository, changed

pytestmark = pytest.mark.slow

PRESENT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
MAJOR, MINOR, PATCH = map(int, PRESENT.split("."))
NEXT_MINOR, NEXT_PATCH = f"{MAJOR}.{MINOR + 1}.0", f"{MAJOR}.{MINOR}.{PATCH + 1}"
EDITED = {"CHANGELOG.md", "pyproject.toml", "backend-flask/openapi.yaml", "SECURITY.md"}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Create a repository."""
    return Repository(tmp_path / "a clone")


def test_release_of_a_minor_version(repository: Repository) -> None:
    before, section = repository.files(), unreleased_section()

    lines = output(repository.release(NEXT_MINOR)).splitlines()

    today = datetime.now(UTC).date().isoformat()
    changelog = repository.read("CHANGELOG.md")
    assert f"\n## [Unreleased]\n\n## [{NEXT_MINOR}] - {today}\n\n{section}\n\n## [{PRESENT}]" in changelog
    assert tomllib.loads(repository.read("pyproject.toml"))["project"]["version"] == NEXT_MINOR
    document = yaml.safe_load(repository.read("backend-flask/openapi.yaml"))
    assert document["info"]["version"] == NEXT_MINOR
    assert f"| {MAJOR}.{MINOR + 1}.x | yes |\n| before {NEXT_MINOR} | no |" in repository.read("SECURITY.md")
    for name in EDITED - {"CHANGELOG.md"}:
        assert not re.search(rf"\b{re.escape(PRESENT)}\b", repository.read(name)), name
    sbom = f"dist/cruddur-backend-{NEXT_MINOR}.cdx.json"
    assert json.loads(repository.read(sbom))["bomFormat"] == "CycloneDX"
    # No other file changes, and the tree is clean: one commit has all.
    assert changed(before, repository.files()) == {*EDITED, sbom}
    assert repository.git("status", "--porcelain") == ""
    assert repository.git("log", "--format=%s") == f"Release {NEXT_MINOR}\nBegin\n"
    tag = f"v{NEXT_MINOR}"
    assert repository.git("cat-file", "-t", tag) == "tag\n"
    assert repository.git("rev-parse", f"{tag}^{{commit}}") == repository.git("rev-parse", "main")
    message = repository.git("for-each-ref", "--format=%(contents)", f"refs/tags/{tag}")
    assert message.strip() == f"cruddur-backend {NEXT_MINOR}\n\n{section}"
    commit = repository.git("rev-parse", "--short", "HEAD").strip()
    assert lines == [
        f"release {NEXT_MINOR}: commit {commit}, tag {tag}, {sbom}",
        f"push: git push --atomic origin main {tag}",
        f"build: docker build --file backend-flask/Dockerfile --tag cruddur-backend:{NEXT_MINOR} .",
    ]


def test_release_of_a_patch_keeps_the_supported_versions(repository: Repository) -> None:
    before = repository.files()

    output(repository.release(NEXT_PATCH))

    sbom = f"dist/cruddur-backend-{NEXT_PATCH}.cdx.json"
    assert changed(before, repository.files()) == {*EDITED - {"SECURITY.md"}, sbom}
    # A second release needs changes of its own.
    assert "has no change below ## [Unreleased]" in error_line(repository.release(NEXT_MINOR))


def refused(repository: Repository, version: str) -> str:
    """Run a release that must be refused, or fail, without a change. Return its line."""
    before = repository.state()
    done = repository.release(version)
    assert repository.state() == before
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)
    return error_line(done)


def test_version_that_is_not_greater_is_refused(subtests: pytest.Subtests, repository: Repository) -> None:
    for version, line in (
        (PRESENT, f"{PRESENT} is not greater than the present version, {PRESENT}"),
        (f"{MAJOR}.{MINOR - 1}.99", "is not greater than"),
        ("0.10", "0.10 is no version"),
        (f"v{NEXT_MINOR}", "is no version"),
        (f"{NEXT_MINOR}-rc.1", "is no version"),
        (f"{MAJOR}.0{MINOR + 1}.0", "is no version"),
    ):
        with subtests.test(version):
            assert line in refused(repository, version)


def test_versions_are_compared_by_their_numbers(repository: Repository) -> None:
    output(repository.release(f"{MAJOR}.{MINOR + 10}.0"))

    assert "is not greater than" in error_line(repository.release(f"{MAJOR}.{MINOR + 2}.0"))


def without_changes(repository: Repository) -> None:
    """Commit a changelog with headings alone in the section of unreleased changes."""
    text = repository.read("CHANGELOG.md").replace(unreleased_section(), "### Added\n\n### Fixed")
    (repository.folder / "CHANGELOG.md").write_text(text)
    repository.commit()


@pytest.mark.parametrize(
    ("prepare", "line"),
    [
        (lambda it: (it.folder / "README.md").write_text("changed"), "the tree has changes or new files"),
        (lambda it: (it.folder / "new.txt").touch(), "the tree has changes or new files"),
        (lambda it: it.git("switch", "--quiet", "--create", "next"), "cut on main, and the present branch is next"),
        (lambda it: it.git("switch", "--quiet", "--detach"), "the present branch is none"),
        (lambda it: it.git("tag", f"v{NEXT_MINOR}"), f"the tag v{NEXT_MINOR} exists already"),
        (without_changes, "has no change below ## [Unreleased]"),
    ],
    ids=["changed file", "new file", "another branch", "no branch", "tag", "nothing to release"],
)
def test_repository_that_cannot_be_released_is_refused(
    repository: Repository, prepare: Callable[[Repository], object], line: str
) -> None:
    prepare(repository)

    assert line in refused(repository, NEXT_MINOR)


@pytest.mark.parametrize(
    ("prepare", "line"),
    [
        # A hook refuses the commit.
        (lambda it: it.git("config", "core.hooksPath", "hooks"), "git commit failed: refused by a hook"),
        # The tag fails after the commit.
        (lambda it: it.git("config", "tag.gpgSign", "true"), "git tag failed"),
        # The SBOM has no lock file to read.
        (lambda it: (it.git("rm", "-q", "backend-flask/requirements.txt"), it.commit()), "bin/sbom failed"),
    ],
    ids=["commit", "tag", "SBOM"],
)
def test_failed_step_restores_everything(
    repository: Repository, prepare: Callable[[Repository], object], line: str
) -> None:
    hook = repository.folder / "hooks" / "pre-commit"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\necho refused by a hook >&2\nexit 1\n")
    hook.chmod(0o755)
    repository.commit()
    repository.git("config", "gpg.program", "false")
    prepare(repository)

    assert line in refused(repository, NEXT_MINOR)
