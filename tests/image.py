"""The image without an engine: the Dockerfile's own steps, done by an ordinary user in empty folders."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from docker.utils import exclude_paths
from packaging.requirements import Requirement

from harness.processes import CLEAN, launch
from ops.command import ROOT
from ops.embedded import NOBODY

DOCKERFILE = "backend-flask/Dockerfile"
# Nothing of the tree that runs the tests is for what is made here.
ENVIRONMENT = {name: value for name, value in CLEAN.items() if name != "PYTHONPATH"}
IS_ROOT = os.geteuid() == 0
USER = NOBODY if IS_ROOT else os.geteuid()
GROUP = NOBODY if IS_ROOT else os.getegid()
OURS = f"-o {USER} -g {GROUP}"
# Root gives up all that it is. Then env(1) looks for the program, as setpriv would with root's eyes still.
DROP = ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--no-new-privs", "env"]
ORDINARY = DROP if IS_ROOT else []


class Step(NamedTuple):
    """An instruction, and what it is about."""

    word: str
    rest: str


@dataclass
class Image:
    """A built image: the root of its file system, the folder in which commands run, and their environment."""

    root: Path
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    user: str = "root"
    port: str = ""


def steps() -> list[Step]:
    """Return the Dockerfile's instructions."""
    lines = (ROOT / DOCKERFILE).read_text().replace("\\\n", " ").splitlines()
    return [Step(*line.split(" ", 1)) for line in lines if line and not line.startswith("#")]


def context_files(context: Path) -> set[str]:
    """Return the paths below a folder that the engine gets, directories too, by .dockerignore."""
    patterns = [line for line in (context / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    return set(exclude_paths(str(context), patterns, DOCKERFILE))


def build(context: Path, folder: Path) -> Image:
    """Do all the steps of all stages below `folder`, which is the ordinary user's. The last stage."""
    stages: dict[str, Image] = {}
    for word, rest in steps():
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "final"
            stages[name] = image = Image(folder / name, folder / name)
            furnish(image.root)
        elif word == "COPY":
            origin, source, target = re.fullmatch(r"(?:--from=(\S+) )?(\S+) (\S+)", rest).groups()
            if origin:
                shutil.copytree(stages[origin].root / source.lstrip("/"), image.folder / target, symlinks=True)
            else:
                copy(context, source, image.folder / target)
        else:
            do(word, rest, image)
    return image


def do(word: str, rest: str, image: Image) -> None:
    """Do a step that is about nothing but the stage that it stands in."""
    match word:
        case "WORKDIR":
            image.folder = image.root / rest.lstrip("/")
            make(image.folder)
        case "RUN":
            run(rest, image)
        case "ENV":
            image.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        case "CMD":
            image.command = json.loads(rest)
        case "HEALTHCHECK":
            image.health = json.loads(rest.partition(" CMD ")[2])
        case "USER":
            image.user = rest
        case "EXPOSE":
            image.port = rest
        case _:
            raise AssertionError(f"how is {word} done?")


def make(folder: Path) -> None:
    """Make a folder that is the ordinary user's, and those above it."""
    subprocess.run([*ORDINARY, "mkdir", "-p", folder], check=True)


def furnish(root: Path) -> None:
    """Put in what the Dockerfile takes away again of the image that it starts from, and a neighbour of each."""
    python, programs = root / "usr/local/lib/python3.13", root / "usr/local/bin"
    for folder in ("ensurepip", "json", "site-packages/pip", "site-packages/pip-25.dist-info"):
        make(python / folder)
    make(programs)
    names = [programs / name for name in ("pip", "pip3", "pip3.13", "python3")]
    subprocess.run([*ORDINARY, "touch", *names], check=True)


def copy(context: Path, source: str, target: Path) -> None:
    """Copy a file, or a folder's files, of what is sent."""
    found = [name for name in context_files(context) if name == source or name.startswith(f"{source}/")]
    assert found, f"{source} is not there"
    for name in found:
        if (context / name).is_file():
            place = target / Path(name).relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(context / name, place)


def run(command: str, image: Image) -> None:
    """Run a shell's command in a stage."""
    if command.startswith("groupadd "):
        # Root alone can. Whom it makes is this user, here.
        return
    here = command.replace("/usr/local/", f"{image.root}/usr/local/").replace("-o cruddur -g cruddur", OURS)
    environ = ENVIRONMENT | {"HOME": str(image.root)}
    subprocess.run([*ORDINARY, "sh", "-c", here], cwd=image.folder, env=environ, check=True)


def freeze(image: Image) -> None:
    """Make the image's file system read-only, except for volumes."""
    subprocess.run(["chmod", "-R", "a-w", image.root], check=True)
    subprocess.run(["chmod", "u+w", image.folder / ".local" / "keys"], check=True)


def start(image: Image, command: list[str], settings: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Start a command as a container of the image does, on loopback alone."""
    environ = {"PATH": CLEAN["PATH"], "HOME": "/nowhere", **image.env, "HOST": "127.0.0.1", **settings}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return launch([*ORDINARY, *command], cwd=image.folder, env=environ, text=True, **pipes)


def outcome(image: Image, command: list[str], settings: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command of a container's to its end: status, what it printed, and what it complained of."""
    with start(image, command, settings) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def requirements() -> list[Requirement]:
    """Return the pins of production's lock file, for each Python and system."""
    text = (ROOT / "backend-flask" / "requirements.txt").read_text()
    return [Requirement(line) for line in re.findall(r"^([\w.-]+==.*) \\$", text, re.MULTILINE)]
