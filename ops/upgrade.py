"""Raise all that is pinned, in all files at once: packages, the peers' packages, and the tags of base images.

A tag keeps its form and its line: another major version of Postgres would need a dump, another minor version of
Python other wheels. To change a line, write its tag by hand into each file, and run this again.
"""

import json
import re
import shutil
import subprocess
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lib.command_errors import CommandError
from ops.command import ROOT, run


class Line(NamedTuple):
    """The releases of an image among which a tag may move."""

    # So many leading numbers of the tag stay.
    kept: int = 1
    # nginx's odd minor versions are its development branch.
    has_even_minor: bool = False


# The images by their names in FROM and `image:`. A tag without a whole version is not here: such a tag moves by itself.
IMAGES = {
    "python": Line(kept=2),
    "postgres": Line(),
    "nginx": Line(has_even_minor=True),
    "edoburu/pgbouncer": Line(),
    "jaegertracing/jaeger": Line(),
}
PINS = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, IMAGES))}):(v?\d+(?:\.\d+)+(?:[.-]\w+)*)(?![\w-])")
# What changed in the past stays.
HISTORY = "CHANGELOG.md"
PEERS = "bench/peers/fastify"
REMEDIES = {
    "skopeo": "it lists the tags of images; install it with the system's package manager (apt-get install skopeo)",
    "npm": "it raises the packages of the benchmark's peer; install Node.js 20 or newer",
}


class Pin(NamedTuple):
    """An image with its tag."""

    image: str
    tag: str

    def __str__(self) -> str:
        return f"{self.image}:{self.tag}"


def numbers(tag: str) -> tuple[int, ...]:
    """Return the numbers of a tag."""
    return tuple(map(int, re.findall(r"\d+", tag)))


def form(tag: str) -> str:
    """Return a tag's text without its numbers."""
    return re.sub(r"\d+", "#", tag)


def newest(pin: Pin, tags: Sequence[str]) -> Pin:
    """Return the pin with the newest of the tags that have the present tag's form and line."""
    line, present = IMAGES[pin.image], numbers(pin.tag)
    candidates = [
        tag
        for tag in tags
        if form(tag) == form(pin.tag)
        and numbers(tag)[: line.kept] == present[: line.kept]
        and not (line.has_even_minor and numbers(tag)[1] % 2)
    ]
    # An older tag than the present one is never the newest, also where the registry has lost the present one.
    return Pin(pin.image, max([*candidates, pin.tag], key=numbers))


def tags_of(image: str) -> list[str]:
    """Return all tags that the image's registry has. Raises `CommandError`."""
    command = ["skopeo", "list-tags", "--retry-times", "3", f"docker://{image}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"skopeo can't list the tags of {image}: {' '.join(done.stderr.split())}")
    return list(json.loads(done.stdout)["Tags"])


def texts_with_pins() -> dict[Path, str]:
    """Return the text of each file of the repository that has a pinned image."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    texts = {}
    for name in set(listed.stdout.split("\0")) - {"", HISTORY}:
        path = ROOT / name
        if path.is_file() and PINS.search(text := path.read_text(errors="surrogateescape")):
            texts[path] = text
    return texts


def raised_images(texts: dict[Path, str]) -> dict[Pin, Pin]:
    """Return each pin that can be raised, with the newest one. Raises `CommandError`."""
    pins = sorted({Pin(*match) for text in texts.values() for match in PINS.findall(text)})
    tags = {image: tags_of(image) for image in sorted({pin.image for pin in pins})}
    raised = {pin: newest(pin, tags[pin.image]) for pin in pins}
    return {pin: new for pin, new in raised.items() if new != pin}


def write_images(texts: dict[Path, str], raised: dict[Pin, Pin]) -> None:
    """Write the raised pins into all files, and print each."""
    for path, text in texts.items():
        new = PINS.sub(lambda match: str(raised.get(Pin(*match.groups()), match[0])), text)
        if new != text:
            path.write_text(new, errors="surrogateescape")
    for pin, new_pin in raised.items():
        count = sum(str(pin) in text for text in texts.values())
        print(f"{pin.image}: {pin.tag} to {new_pin.tag}, in {count} files")
    if not raised:
        print("images: each tag is the newest of its line")


def raise_packages() -> None:
    """Raise the packages of each lock file. Raises `CommandError`."""
    lock = [str(ROOT / "bin" / "lock"), "--upgrade"]
    npm = ["npm", "update", "--package-lock-only", "--no-audit", "--no-fund"]
    for command, folder in ((lock, ROOT), (npm, ROOT / PEERS)):
        if subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False).returncode:
            raise CommandError("the packages can't be raised, for the reason above; no image was raised")


def main() -> None:
    """Raise packages and images. Nothing changes before all tags are known."""
    ArgumentParser(prog="bin/upgrade", description=__doc__).parse_args()
    for program, remedy in REMEDIES.items():
        if shutil.which(program) is None:
            raise CommandError(f"{program} is not installed: {remedy}; nothing was raised")
    texts = texts_with_pins()
    raised = raised_images(texts)
    raise_packages()
    write_images(texts, raised)
    print("packages: git diff shows the lock files; run bin/test --all, then .ci/run")


if __name__ == "__main__":
    run(main)
