"""bin/upgrade: the newest tag of an image's line, and the rewriting of all files in a repository of its own."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.waiting import SECONDS
from ops.command import ROOT
from ops.upgrade import IMAGES, PINS, Pin, newest
from tests.processes import error_line, output
from tests.repository import ENVIRON, Repository, changed

# FROM of a Dockerfile, and `image:` of compose and `Image:` of CloudFormation with a literal value.
USED = re.compile(r"^(?:FROM|\s*(?:- )?[iI]mage:)\s+(?:&\w+ )?([\w./-]+:[\w.-]+)", re.MULTILINE)
# The image of the workspace has no whole version: its registry moves the tag.
MOVING = {"mcr.microsoft.com/devcontainers/python"}


@pytest.mark.parametrize(
    ("present", "tags", "expected"),
    [
        # By numbers, not by text; in the same form alone.
        ("python:3.13.9-slim-trixie", ["3.13.10-slim-trixie", "3.13.11-slim-bookworm"], "3.13.10-slim-trixie"),
        ("python:3.13.9-slim-trixie", ["3.13-slim-trixie", "3.13.10rc1-slim-trixie", "latest"], "3.13.9-slim-trixie"),
        # Python keeps its minor version, the others their major version.
        ("python:3.13.9-slim-trixie", ["3.14.0-slim-trixie"], "3.13.9-slim-trixie"),
        ("postgres:18.6-trixie", ["18.7-trixie", "19.0-trixie", "19beta1-trixie"], "18.7-trixie"),
        ("jaegertracing/jaeger:2.15.0", ["2.16.0", "3.0.0", "2.17.0-rc1"], "2.16.0"),
        # nginx's odd minor versions are its development branch.
        ("nginx:1.28.0-alpine", ["1.28.1-alpine", "1.29.4-alpine"], "1.28.1-alpine"),
        ("nginx:1.28.0-alpine", ["1.28.1-alpine", "1.29.4-alpine", "1.30.0-alpine"], "1.30.0-alpine"),
        ("edoburu/pgbouncer:v1.25.2-p0", ["v1.25.2-p1", "1.26.0-p0", "v1.24.9-p9"], "v1.25.2-p1"),
        # Never lower, also where the registry has lost the present tag.
        ("postgres:18.6-trixie", ["18.5-trixie"], "18.6-trixie"),
        ("postgres:18.6-trixie", [], "18.6-trixie"),
    ],
)  # fmt: skip
def test_newest_tag_of_the_same_form_and_line(present: str, tags: list[str], expected: str) -> None:
    pin = Pin(*present.split(":"))

    assert newest(pin, tags) == Pin(pin.image, expected)


def files() -> dict[str, str]:
    """Return the text of each file that git tracks, or would."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: (ROOT / name).read_text(errors="replace") for name in names if (ROOT / name).is_file()}


def test_every_image_in_use_is_raised() -> None:
    used = {
        image
        for name, text in files().items()
        if Path(name).name == "Dockerfile" or name.endswith((".yml", ".yaml"))
        for image in USED.findall(text)
    }

    assert len(used) > 5
    assert {image.split(":")[0] for image in used} - MOVING == IMAGES.keys()
    assert {image for image in used if not PINS.fullmatch(image)} == {
        image for image in used if image.split(":")[0] in MOVING
    }


# Tags as skopeo 1.9.3 prints them, with versions that are newer than ours.
TAGS = {
    "python": ["3.13.98-slim-trixie", "3.13.99-slim-trixie", "3.14.0-slim-trixie", "latest"],
    "postgres": ["18.99-trixie", "19.1-trixie"],
    "nginx": ["1.98.1-alpine", "1.99.0-alpine"],
    "edoburu/pgbouncer": ["v1.99.0-p3"],
    "jaegertracing/jaeger": ["2.99.0", "3.0.0"],
}
NEWEST = {"python": "3.13.99-slim-trixie", "postgres": "18.99-trixie", "nginx": "1.98.1-alpine"}
NEWEST |= {"edoburu/pgbouncer": "v1.99.0-p3", "jaegertracing/jaeger": "2.99.0"}
# Prints the tags of the named image from a file beside itself, and fails without the file.
SKOPEO = """#!/usr/bin/env bash
[[ $1 = list-tags ]] || exit 9
exec cat "$(dirname "$0")/tags/${@: -1}"
"""
# Record the call. bin/lock and npm would need the network, and other versions each day.
RECORDING = '#!/usr/bin/env bash\necho "$(basename "$0") $*" >>"{log}"\nexit {status}\n'


# This machine may have a skopeo and an npm of its own, which no test may call.
SYSTEM = ("bash", "basename", "cat", "dirname", "env", "git", "readlink")


class Upgrade:
    """A repository, and the programs that `bin/upgrade` finds."""

    def __init__(self, folder: Path) -> None:
        self.repository = Repository(folder / "a clone")
        self.programs = folder / "programs"
        self.log = folder / "log"
        self.write(self.programs / "skopeo", SKOPEO)
        for image, tags in TAGS.items():
            listed = json.dumps({"Repository": image, "Tags": tags}, indent=4)
            self.write(self.programs / "tags" / "docker:" / image, listed)
        for name in SYSTEM:
            (self.programs / name).symlink_to(str(shutil.which(name)))
        self.record(self.programs / "npm")
        self.record(self.repository.folder / "bin" / "lock")
        self.repository.commit()

    def write(self, path: Path, text: str) -> None:
        """Write an executable file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def record(self, path: Path, status: int = 0) -> None:
        """Write a program that records its call."""
        self.write(path, RECORDING.format(log=self.log, status=status))

    def run(self) -> "subprocess.CompletedProcess[str]":
        """Run `bin/upgrade` to its end, with those programs alone."""
        environ = ENVIRON | {"PATH": str(self.programs)}
        command = [str(self.repository.folder / "bin" / "upgrade")]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.fixture
def upgrade(tmp_path: Path) -> Upgrade:
    """Create a repository with programs."""
    return Upgrade(tmp_path)


@pytest.mark.slow
def test_all_files_change_at_once(upgrade: Upgrade) -> None:
    repository = upgrade.repository
    before, texts = repository.files(), files()

    lines = output(upgrade.run()).splitlines()

    pins = {Pin(*match) for name, text in texts.items() if name != "CHANGELOG.md" for match in PINS.findall(text)}
    assert {pin.image for pin in pins} == IMAGES.keys()
    with_pins = {name for name, text in texts.items() if PINS.search(text)} - {"CHANGELOG.md"}
    assert with_pins > {"backend-flask/Dockerfile", "docker-compose.yml", "docs/development.md"}
    # Nothing but the tags changes.
    assert changed(before, repository.files()) == with_pins
    for name in with_pins - {"bin/lock"}:
        assert repository.read(name) == PINS.sub(lambda match: f"{match[1]}:{NEWEST[match[1]]}", texts[name]), name
    assert [line.split(",")[0] for line in lines[:-1]] == [
        f"{pin.image}: {pin.tag} to {NEWEST[pin.image]}" for pin in sorted(pins)
    ]
    assert upgrade.log.read_text().splitlines() == [
        "lock --upgrade",
        "npm update --package-lock-only --no-audit --no-fund",
    ]
    # A second run finds nothing newer.
    repository.commit()
    assert output(upgrade.run()).splitlines()[0] == "images: each tag is the newest of its line"
    assert repository.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_failure_raises_no_image(subtests: pytest.Subtests, upgrade: Upgrade) -> None:
    before = upgrade.repository.state()
    nginx = upgrade.programs / "tags" / "docker:" / "nginx"

    def fails(line: str, calls: list[str]) -> None:
        done = upgrade.run()
        assert line in error_line(done)
        assert upgrade.repository.state() == before
        log = upgrade.log.read_text().splitlines() if upgrade.log.exists() else []
        assert [call.split()[0] for call in log] == calls

    with subtests.test("no npm"):
        (upgrade.programs / "npm").rename(upgrade.programs / "another")
        fails("npm is not installed: it raises", [])
        (upgrade.programs / "another").rename(upgrade.programs / "npm")
    with subtests.test("a registry that does not respond"):
        nginx.rename(nginx.with_name("away"))
        fails("skopeo can't list the tags of nginx: cat: ", [])
        nginx.with_name("away").rename(nginx)
    with subtests.test("npm fails"):
        upgrade.record(upgrade.programs / "npm", status=1)
        fails("the packages can't be raised, for the reason above; no image was raised", ["lock", "npm"])
    with subtests.test("no skopeo"):
        (upgrade.programs / "skopeo").unlink()
        fails("skopeo is not installed: it lists the tags of images", ["lock", "npm"])
