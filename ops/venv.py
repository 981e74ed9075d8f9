"""Install a requirements file into .venv. This module needs the standard library only, for the first installation.

Concurrent calls are safe: one installs, the others wait.
"""

import signal

# Python's own handler would print a traceback of the imports below.
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
# Exists while pip is installed into .venv: half of pip can be imported, and installs nothing.
PIP_INCOMPLETE = VENV / "pip-incomplete"
STDERR = 2
# pip's options for reaching an index. The caller's other options, such as `user`, `target` and `dry-run`, concern
# other installations.
NETWORK_OPTIONS = {
    *("cache-dir", "cert", "client-cert", "default-timeout", "extra-index-url", "find-links", "index-url"),
    *("keyring-provider", "no-cache-dir", "no-index", "proxy", "pypi-url", "retries", "timeout", "trusted-host"),
    *("use-deprecated", "use-feature"),
}
INDEX_UNREACHABLE = (
    "the package index does not answer ({}): is this machine on the network? HTTPS_PROXY names a proxy, "
    "PIP_INDEX_URL another index, PIP_CERT its certificate; run this again to go on"
)


def is_current(requirements: Path) -> bool:
    """Return whether .venv works and holds the present `requirements` completely."""
    installed = VENV / requirements.name
    return installed.exists() and installed.read_bytes() == requirements.read_bytes() and is_usable()


def is_usable() -> bool:
    """Return whether .venv has a pip and a Python that starts. Upgrades and interruptions break these."""
    return PYTHON.exists() and not PIP_INCOMPLETE.exists() and run(PYTHON, "-I", "-c", "import pip").returncode == 0


def clean_environ(**settings: str) -> dict[str, str]:
    """Return the caller's environment with `settings`, and without its own settings for pip and Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))} | settings


def run(*command: str | Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in the clean environment, without standard input. Returns its captured output."""
    return run_with_stdout(subprocess.PIPE, *command, **settings)


def run_with_stdout(stdout: int, /, *command: str | Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in the clean environment, with `stdout` as its standard output."""
    return subprocess.run(
        command,
        env=clean_environ(**settings),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def create_venv() -> None:
    """Create .venv, and remove an old one first. Exits with a line for the operator after a failure."""
    try:
        import ensurepip  # noqa: F401  Debian's Python lacks it.
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"cruddur: this Python has no venv: install it (on Debian and Ubuntu: apt install python{version}-venv)"
        )
    write_stderr("cruddur: making .venv")
    # An old .venv is unusable from here on, also while half of it is deleted.
    with suppress(OSError):
        PYTHON.unlink()
    process = run(sys.executable, "-I", "-m", "venv", "--clear", "--without-pip", VENV)
    if not process.returncode:
        PIP_INCOMPLETE.touch()
        process = run(PYTHON, "-I", "-m", "ensurepip", "--default-pip")
    if process.returncode:
        output = f"{process.stdout}{process.stderr}"
        sys.exit(f"{output}cruddur: .venv could not be made: see above; run this again to go on")
    PIP_INCOMPLETE.unlink()


def network_settings(python: Path) -> dict[str, str]:
    """Return the caller's network options for pip, from its environment and configuration files, as variables."""
    file = {name: os.environ[name] for name in ("PIP_CONFIG_FILE",) if name in os.environ}
    # A configuration file may set `user` and `quiet` for all commands, and each would break the listing.
    process = run(python, "-I", "-m", "pip", "config", "list", PIP_USER="no", PIP_QUIET="0", **file)
    if process.returncode:
        sys.exit(
            f"{process.stderr}cruddur: pip's configuration can't be read: see above; PIP_CONFIG_FILE names another"
        )
    settings = {"PIP_CONFIG_FILE": os.devnull}
    # The options of `install` are listed after the global ones, and override them.
    for name, value in re.findall(r"^(?:global|install)\.([\w-]+)=(.*)$", process.stdout, re.MULTILINE):
        if name in NETWORK_OPTIONS:
            settings[pip_variable(name)] = ast.literal_eval(value)
    names = {pip_variable(name) for name in NETWORK_OPTIONS}
    return settings | {name: value for name, value in os.environ.items() if name in names}


def pip_variable(option: str) -> str:
    """Return the environment variable of a pip option."""
    return f"PIP_{option.replace('-', '_').upper()}"


def install(requirements: Path) -> None:
    """Install `requirements`, wheels only, with their hashes checked. Exits with the errors after a failure.

    A copy of the file in .venv marks a complete installation.
    """
    write_stderr(f"cruddur: installing {requirements.name} into .venv")
    # No dependencies: the file lists all packages, without those that pyproject.toml excludes on purpose.
    options = ["--no-input", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary=:all:"]
    pip: list[str | Path] = [PYTHON, "-I", "-m", "pip", "install", *options, "-r", requirements]
    # Standard output belongs to the caller. On a terminal, standard error shows pip's progress.
    is_terminal = os.isatty(STDERR)
    if is_terminal:
        process = run_with_stdout(STDERR, *pip, **network_settings(PYTHON))
    else:
        process = run(*pip, "-q", **network_settings(PYTHON))
    if not process.returncode:
        # A second run without an index succeeds only if no package is missing.
        process = run(*pip, "-q", "--no-index", PIP_CONFIG_FILE=os.devnull)
    if process.returncode:
        sys.exit(failure_message(requirements, process.stderr))
    (VENV / requirements.name).write_bytes(requirements.read_bytes())


def failure_message(requirements: Path, errors: str) -> str:
    """Return pip's errors and a line for the operator; only the line if the index did not answer."""
    summary = f"cruddur: {requirements.name} could not be installed"
    connection_errors = re.findall(r"connection broken by '(\w+)", errors)
    if connection_errors and "DO NOT MATCH THE HASHES" not in errors:
        return f"{summary}: {INDEX_UNREACHABLE.format(connection_errors[-1])}"
    return f"{errors}{summary}: see above; run this again to go on"


def write_stderr(line: str) -> None:
    """Write a line to standard error, and ignore a failure: the installation does not depend on it."""
    with suppress(OSError):
        os.write(STDERR, f"{line}\n".encode())


def main(requirements: Path) -> None:
    """Install `requirements` into .venv, unless it holds them."""
    if is_current(requirements):
        return
    with (ROOT / ".venv.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(requirements):
            return
        if not is_usable():
            create_venv()
        install(requirements)


if __name__ == "__main__":
    # SIGTERM ends child processes too, as Ctrl-C does.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        main(ROOT / sys.argv[1])
    except KeyboardInterrupt:
        write_stderr("cruddur: interrupted; run this again to go on")
        sys.exit(130)
