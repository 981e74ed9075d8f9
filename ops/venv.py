"""Make .venv hold what a requirements file pins. Standard library only: it is what brings the rest.

Several may do this at once: one works, the others wait for it.
"""

import signal

# Python's own handler would show a traceback, here of the imports that follow.
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import ast
import fcntl
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STDERR = 2
# The options by which pip reaches an index. The caller's others, such as `user`, `target` and `dry-run`, are for
# other installations.
NETWORK = {
    *("cache-dir", "cert", "client-cert", "default-timeout", "extra-index-url", "find-links", "index-url"),
    *("keyring-provider", "no-cache-dir", "no-index", "proxy", "pypi-url", "retries", "timeout", "trusted-host"),
    *("use-deprecated", "use-feature"),
}
AWAY = (
    "the package index does not answer ({}): is this machine on the network? HTTPS_PROXY names a proxy, "
    "PIP_INDEX_URL another index, PIP_CERT its certificate; run this again to go on"
)


def is_current(requirements: Path) -> bool:
    """Whether .venv works and `requirements`, as they are now, were installed to the end."""
    installed = VENV / requirements.name
    return installed.exists() and installed.read_bytes() == requirements.read_bytes() and works()


def works() -> bool:
    """Whether .venv has a Python that starts, and a pip: not so after an upgrade, or when it was interrupted."""
    return PYTHON.exists() and run(PYTHON, "-I", "-c", "import pip").returncode == 0


def environment(**settings: str) -> dict[str, str]:
    """Return the caller's environment without its settings for pip and Python, but with these."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))} | settings


def run(*command: str | Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in that environment. It asks for nothing."""
    return run_showing(subprocess.PIPE, *command, **settings)


def run_showing(stdout: int, /, *command: str | Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in that environment, with its standard output there."""
    return subprocess.run(
        command,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def make() -> None:
    """Make .venv anew."""
    try:
        import ensurepip  # noqa: F401  Debian leaves it out of its Python.
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"cruddur: this Python has no venv: install it (on Debian and Ubuntu: apt install python{version}-venv)"
        )
    say("cruddur: making .venv")
    done = run(sys.executable, "-I", "-m", "venv", "--clear", VENV)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}cruddur: .venv could not be made: see above; run this again to go on")


def network_settings(python: Path) -> dict[str, str]:
    """Return what the caller's environment and pip's configuration files say of the network, as pip's variables."""
    file = {name: os.environ[name] for name in ("PIP_CONFIG_FILE",) if name in os.environ}
    # The two would keep it from being listed, where a file has them for all of pip's commands.
    listed = run(python, "-I", "-m", "pip", "config", "list", PIP_USER="no", PIP_QUIET="0", **file)
    if listed.returncode:
        sys.exit(f"{listed.stderr}cruddur: pip's configuration can't be read: see above; PIP_CONFIG_FILE names another")
    settings = {"PIP_CONFIG_FILE": os.devnull}
    # What is for `install` comes after what is for all of pip's commands, and wins.
    for name, value in re.findall(r"^(?:global|install)\.([\w-]+)=(.*)$", listed.stdout, re.MULTILINE):
        if name in NETWORK:
            settings[variable(name)] = ast.literal_eval(value)
    names = {variable(name) for name in NETWORK}
    return settings | {name: value for name, value in os.environ.items() if name in names}


def variable(option: str) -> str:
    """Return the environment variable that stands for an option of pip's."""
    return f"PIP_{option.replace('-', '_').upper()}"


def install(requirements: Path) -> None:
    """Install `requirements`, wheels only and each by its hash. They are noted as installed once they are found."""
    say(f"cruddur: installing {requirements.name} into .venv")
    # The file names all that is needed, and leaves out on purpose what pyproject.toml excludes.
    options = ["--no-input", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary=:all:"]
    pip: list[str | Path] = [PYTHON, "-I", "-m", "pip", "install", *options, "-r", requirements]
    # Standard output is for what the caller prints: a terminal's standard error shows pip's progress.
    is_watched = os.isatty(STDERR)
    if is_watched:
        done = run_showing(STDERR, *pip, **network_settings(PYTHON))
    else:
        done = run(*pip, "-q", **network_settings(PYTHON))
    if not done.returncode:
        # Without an index, pip succeeds when nothing is missing.
        done = run(*pip, "-q", "--no-index", PIP_CONFIG_FILE=os.devnull)
    if done.returncode:
        sys.exit(failure(requirements, done.stderr))
    (VENV / requirements.name).write_bytes(requirements.read_bytes())


def failure(requirements: Path, errors: str) -> str:
    """Return the line for what pip has reported, after pip's own lines unless the index did not answer."""
    head = f"cruddur: {requirements.name} could not be installed"
    broken = re.findall(r"connection broken by '(\w+)", errors)
    if broken and "DO NOT MATCH THE HASHES" not in errors:
        return f"{head}: {AWAY.format(broken[-1])}"
    return f"{errors}{head}: see above; run this again to go on"


def say(line: str) -> None:
    """Print a line, unless that fails: the installation does not depend on it."""
    with suppress(OSError):
        os.write(STDERR, f"{line}\n".encode())


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
        install(requirements)


if __name__ == "__main__":
    # As Ctrl-C: what this has started ends too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        main(ROOT / sys.argv[1])
    except KeyboardInterrupt:
        say("cruddur: interrupted; run this again to go on")
        sys.exit(130)
