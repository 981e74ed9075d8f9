"""What the measurement needs besides the service: wrk, Node.js, and the peers' packages, pinned by their hashes."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.data import tell
from harness.wrk import install_wrk
from lib.command_errors import CommandError
from ops.command import ROOT, data_dir
from ops.venv import clean_environ, network_settings

PEERS = ROOT / "bench" / "peers"


def venv() -> Path:
    """The environment of the peers that are Python."""
    return data_dir() / "venv"


def install() -> None:
    """See to it that all that is needed is there. Raises `CommandError` with the missing part and its remedy."""
    install_wrk()
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise CommandError(f"{program} is missing: install Node.js 20 or newer, with npm")
    wanted = PEERS / "requirements.txt"
    install_once(wanted, venv() / wanted.name, install_venv)
    lock = PEERS / "fastify" / "package-lock.json"
    install_once(lock, PEERS / "fastify" / "node_modules" / lock.name, install_node_modules)


def install_once(pins: Path, installed: Path, how: Callable[[Path], None]) -> None:
    """Install what `pins` names unless that has been done, to the end: then a copy of it is at `installed`."""
    if installed.exists() and installed.read_bytes() == pins.read_bytes():
        return
    tell(f"installing {pins.relative_to(ROOT)}")
    try:
        how(pins)
    except subprocess.CalledProcessError as error:
        raise CommandError(
            f"{pins.relative_to(ROOT)} could not be installed: see above; run this again to go on"
        ) from error
    shutil.copy(pins, installed)


def install_venv(requirements: Path) -> None:
    """Install Python packages, wheels only and each by its hash."""
    subprocess.run([sys.executable, "-I", "-m", "venv", "--clear", venv()], env=clean_environ(), check=True)
    options = ["-qq", "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
    python = venv() / "bin" / "python"
    command: list[str | Path] = [python, "-I", "-m", "pip", "install", *options, "-r", requirements]
    subprocess.run(command, env=clean_environ(**network_settings(python)), check=True)


def install_node_modules(lock: Path) -> None:
    """Install node packages, each by its hash."""
    subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=lock.parent, check=True)
