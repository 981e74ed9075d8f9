"""Make .venv hold what a requirements file pins. Standard library only: it is what brings the rest.

Several may do this at once: one works, the others wait for it.
"""

import fcntl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"


def is_current(requirements: Path) -> bool:
    """Whether .venv works and `requirements`, as they are now, were installed to the end."""
    installed = VENV / requirements.name
    return installed.exists() and installed.read_bytes() == requirements.read_bytes() and works()


def works() -> bool:
    """Whether .venv has a Python that starts, and a pip: not so after an upgrade, or when it was interrupted."""
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-c", "import pip"], check=False, capture_output=True).returncode == 0


def make() -> None:
    """Make .venv anew."""
    try:
        import ensurepip  # noqa: F401  Debian leaves it out of its Python.
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"cruddur: this Python has no venv: install it (on Debian and Ubuntu: apt install python{version}-venv)"
        )
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)


def install(requirements: Path) -> None:
    """Install `requirements`, wheels only and each by its hash."""
    print(f"cruddur: installing {requirements.name} into .venv", file=sys.stderr)
    # The file names all that is needed, and leaves out on purpose what pyproject.toml excludes.
    options = ["-qq", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary=:all:"]
    subprocess.run([PYTHON, "-m", "pip", "install", *options, "-r", requirements], check=True)
    (VENV / requirements.name).write_bytes(requirements.read_bytes())


def main(requirements: Path) -> None:
    """See to it that .venv is current."""
    if is_current(requirements):
        return
    with (ROOT / ".venv.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(requirements):
            return
        if not works():
            make()
        try:
            install(requirements)
        except subprocess.CalledProcessError:
            sys.exit(f"cruddur: {requirements.name} could not be installed: see above; run this again to go on")


if __name__ == "__main__":
    main(ROOT / sys.argv[1])
