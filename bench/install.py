"""Install wrk and the peers' packages, pinned by their hashes."""

import shutil
import subprocess
import sys
from pathlib import Path

from harness.commands import tell
from harness.wrk import install_wrk
from lib.command_errors import CommandError
from ops.command import ROOT, data_dir
from ops.venv import clean_environ, network_settings

PEERS = ROOT / "bench" / "peers"
PIP = ["-I", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
PINNED = ["--require-hashes", "--only-binary=:all:", "-r"]
NPM = ["npm", "ci", "--silent", "--ignore-scripts"]


def venv() -> Path:
    """Return the environment of the Python peers."""
    return data_dir() / "venv"


def install() -> None:
    """Install all that is missing. Raises `CommandError` with the missing part and its remedy."""
    install_wrk()
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise CommandError(f"{program} is missing: install Node.js 20 or newer, with npm")
    for pins, folder in (
        (PEERS / "requirements.txt", venv()),
        (PEERS / "fastify" / "package-lock.json", PEERS / "fastify" / "node_modules"),
    ):
        # The copy of the pins says that an earlier run came to its end.
        copy = folder / pins.name
        if not copy.exists() or copy.read_bytes() != pins.read_bytes():
            tell(f"installing {pins.relative_to(ROOT)}")
            try:
                install_venv(pins) if pins.suffix == ".txt" else subprocess.run(NPM, cwd=pins.parent, check=True)
            except subprocess.CalledProcessError as error:
                message = f"{pins.relative_to(ROOT)} could not be installed: see above; run this again to go on"
                raise CommandError(message) from error
            shutil.copy(pins, copy)


def install_venv(requirements: Path) -> None:
    """Install Python packages: wheels, each by its hash."""
    subprocess.run([sys.executable, "-I", "-m", "venv", "--clear", venv()], env=clean_environ(), check=True)
    python = venv() / "bin" / "python"
    subprocess.run([python, *PIP, *PINNED, requirements], env=clean_environ(**network_settings(python)), check=True)
