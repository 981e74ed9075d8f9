"""bin/venv: the environment it creates, independent of the caller's settings of pip and Python, and its errors."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from zipfile import ZipFile

import pytest

from harness.processes import CLEAN, launch
from harness.stubs import listening, refusing
from harness.waiting import wait_until
from ops.command import ROOT

pytestmark = pytest.mark.slow

NOTHING = "nothing.txt"
MAKING, INSTALLING = "cruddur: making .venv\n", f"cruddur: installing {NOTHING} into .venv\n"
# No package index of this machine's, and no retries for a missing one.
NO_INDEX = {name: value for name, value in CLEAN.items() if not name.startswith(("PIP_", "PYTHON"))}
NO_INDEX |= {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Create a project without required packages, in a path with a space."""
    project = tmp_path / "a project"
    for name in ("bin/venv", "ops/venv.py"):
        (project / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, project / name)
    (project / NOTHING).touch()
    return project


def start(project: Path, environ: Mapping[str, str] = CLEAN, **settings: str) -> "subprocess.Popen[str]":
    """Start bin/venv in `project`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return launch([project / "bin" / "venv", NOTHING], env={**environ, **settings}, text=True, **pipes)


def wait_for(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for the end, and return the exit status and standard error."""
    out, err = process.communicate(timeout=60)
    assert out == ""
    return process.returncode, err


def test_concurrent_starts_create_one_environment(project: Path) -> None:
    both = [start(project), start(project)]

    results = sorted(wait_for(process) for process in both)

    assert results == [(0, ""), (0, MAKING + INSTALLING)]
    assert subprocess.run([project / ".venv" / "bin" / "python", "-c", "import pip"], check=False).returncode == 0


def test_environment_is_kept_until_requirements_change(project: Path) -> None:
    assert wait_for(start(project))[1] != ""
    assert wait_for(start(project)) == (0, "")

    (project / NOTHING).write_text("# another\n")
    assert wait_for(start(project)) == (0, INSTALLING)


def test_environment_with_missing_python_is_recreated(project: Path) -> None:
    wait_for(start(project))
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")

    assert wait_for(start(project)) == (0, MAKING + INSTALLING)
    assert subprocess.run([python, "-c", ""], check=False).returncode == 0


def test_environment_without_pip_is_recreated(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / ".venv"], check=True)

    assert wait_for(start(project)) == (0, MAKING + INSTALLING)


def test_requirement_without_hash_is_refused_and_retried(project: Path) -> None:
    (project / NOTHING).write_text("flask==3.1.3\n")

    for _ in range(2):
        status, output = wait_for(start(project))
        assert status == 1
        assert "hash" in output.lower()
        assert output.endswith(f"cruddur: {NOTHING} could not be installed: see above; run this again to go on\n")


def test_python_without_venv_names_the_package_to_install(project: Path, tmp_path: Path) -> None:
    # Debian's Python lacks ensurepip.
    without = (
        "import runpy, sys; sys.modules['ensurepip'] = None; "
        "sys.argv[:1] = []; runpy.run_path(sys.argv[0], {}, '__main__')"
    )
    python = tmp_path / "python3"
    python.write_text(f"""#!/bin/sh
if [ "$2" = -c ]; then exec "{sys.executable}" "$@"; fi
exec "{sys.executable}" -c "{without}" "$2" "$3"
""")
    python.chmod(0o755)

    status, output = wait_for(start(project, PATH=f"{tmp_path}:{CLEAN['PATH']}"))

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (status, output.count("\n")) == (1, 1)
    assert output.endswith(f"(on Debian and Ubuntu: apt install python{version}-venv)\n")


def test_missing_python_of_a_supported_version_is_reported(project: Path, tmp_path: Path) -> None:
    for name in ("python3", "python3.11"):
        old = tmp_path / name
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
    for name in ("env", "bash", "dirname", "readlink"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")

    status, output = wait_for(start(project, PATH=str(tmp_path)))

    assert status == 1
    assert output == "cruddur: no Python 3.11 or newer on the PATH: install one, with its venv module\n"


def wheel(folder: Path) -> str:
    """Write the wheel of a package `parcel` into a folder, and return the line that requires it."""
    path = folder / "parcel-1.0-py3-none-any.whl"
    info = "parcel-1.0.dist-info"
    with ZipFile(path, "w") as packed:
        packed.writestr("parcel.py", "")
        packed.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n")
        packed.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr(f"{info}/RECORD", f"parcel.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return f"parcel==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def parcel(project: Path, tmp_path: Path) -> Path:
    """Let the project require one package, and return the package's folder."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    (project / NOTHING).write_text(wheel(folder))
    return folder


def has_parcel(project: Path) -> bool:
    """Return whether the project's environment has the package."""
    python = project / ".venv" / "bin" / "python"
    return subprocess.run([python, "-I", "-c", "import parcel"], check=False, capture_output=True).returncode == 0


def test_pips_progress_is_shown_on_a_terminal_only(project: Path, parcel: Path) -> None:
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}
    reader, terminal = os.openpty()
    result = subprocess.run(
        [project / "bin" / "venv", NOTHING],
        env=NO_INDEX | settings,
        stdout=subprocess.PIPE,
        stderr=terminal,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    output = os.read(reader, 100_000).decode()
    os.close(reader)

    assert (result.returncode, result.stdout) == (0, b"")
    assert output.startswith((MAKING + INSTALLING).replace("\n", "\r\n"))
    assert "Successfully installed parcel-1.0" in output
    shutil.rmtree(project / ".venv")
    assert wait_for(start(project, NO_INDEX, **settings)) == (0, MAKING + INSTALLING)


# Each variable would make pip install elsewhere, not at all, or for another Python.
FOR_OTHERS = [
    {
        "PIP_USER": "yes",
        "PIP_TARGET": "{tmp}/target",
        "PIP_PREFIX": "{tmp}/prefix",
        "PIP_ROOT": "{tmp}/root",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_DRY_RUN": "1",
        "PIP_PYTHON": "/nowhere/python",
        "PIP_NO_BINARY": ":all:",
        "PIP_CONSTRAINT": "/nowhere/constraints.txt",
        "PIP_REQUIREMENT": "/nowhere/requirements.txt",
        "PIP_QUIET": "3",
    },
    {
        "PYTHONHOME": "/nowhere",
        "PYTHONPATH": "{tmp}/modules",
        "PYTHONUSERBASE": "{tmp}/base",
        "PYTHONNOUSERSITE": "1",
        "PYTHONOPTIMIZE": "2",
    },
]


@pytest.mark.parametrize("variables", FOR_OTHERS, ids=["pip", "Python"])
def test_variables_for_another_environment_are_ignored(
    project: Path, parcel: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    # Modules that stop any Python that imports them.
    (tmp_path / "modules").mkdir()
    for module in ("encodings", "pip", "venv"):
        (tmp_path / "modules" / f"{module}.py").write_text("raise SystemExit('of another')")
    settings = {name: value.format(tmp=tmp_path) for name, value in variables.items()}
    settings |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}

    assert wait_for(start(project, NO_INDEX, **settings)) == (0, MAKING + INSTALLING)
    assert has_parcel(project)


@pytest.mark.parametrize("section", ["global", "install"])
def test_pip_configuration_sets_the_index_but_not_the_target(
    project: Path, parcel: Path, tmp_path: Path, section: str
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        f"[{section}]\nno-index = true\nfind-links =\n  {parcel}\n  {tmp_path}\n"
        f"target = {tmp_path}/target\nuser = true\ndry-run = true\nquiet = 3\n"
    )

    assert wait_for(start(project, NO_INDEX, PIP_CONFIG_FILE=str(file)))[0] == 0
    assert has_parcel(project)
    assert not (tmp_path / "target").exists()


def test_callers_index_and_proxy_are_used(project: Path, parcel: Path) -> None:
    (parcel / "parcel").mkdir()
    (parcel / "parcel-1.0-py3-none-any.whl").rename(parcel / "parcel" / "parcel-1.0-py3-none-any.whl")
    (parcel / "simple").symlink_to(".")
    urls: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        """A package index behind a proxy: requests carry the whole URL."""

        def translate_path(self, path: str) -> str:
            """Return the file that a URL names."""
            urls.append(path)
            return super().translate_path(path.removeprefix("http://index.example"))

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with listening(HTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(parcel)))) as port:
        index = {"PIP_INDEX_URL": "http://index.example/simple", "PIP_TRUSTED_HOST": "index.example"}
        settings = index | {"HTTP_PROXY": f"http://127.0.0.1:{port}", "http_proxy": f"http://127.0.0.1:{port}"}
        assert wait_for(start(project, NO_INDEX, **settings))[0] == 0

    assert has_parcel(project)
    assert urls[0] == "http://index.example/simple/parcel/"


@pytest.mark.usefixtures("parcel")
def test_unreachable_index_is_one_error_line_and_installed_packages_suffice(project: Path) -> None:
    with refusing() as url:
        away = {"PIP_INDEX_URL": f"{url}/simple", "PIP_RETRIES": "1"}
        status, output = wait_for(start(project, NO_INDEX, **away))
        assert status == 1
        assert output.startswith(
            f"{MAKING}{INSTALLING}cruddur: {NOTHING} could not be installed: the package index does not answer ("
        )
        assert output.count("\n") == 3

        (project / NOTHING).write_text("")
        assert wait_for(start(project, NO_INDEX, **away)) == (0, INSTALLING)
        assert wait_for(start(project, NO_INDEX, **away)) == (0, "")


def test_package_that_pip_did_not_install_is_not_recorded(project: Path, parcel: Path) -> None:
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}
    assert wait_for(start(project, NO_INDEX, **settings))[0] == 0
    record = project / ".venv" / NOTHING
    record.unlink()
    # A pip that installs nothing, in place of an unknown configuration with that effect.
    (package,) = (project / ".venv").glob("lib/python*/site-packages/pip")
    python = project / ".venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "-q", "uninstall", "-y", "parcel"], check=True)
    (package / "__main__.py").write_text("""import sys
if "--no-index" in sys.argv:
    sys.exit("ERROR: No matching distribution found for parcel==1.0")
""")

    status, output = wait_for(start(project, NO_INDEX, **settings))

    assert status == 1
    assert output.endswith(f"cruddur: {NOTHING} could not be installed: see above; run this again to go on\n")
    assert not record.exists()


@pytest.mark.parametrize(("seconds", "number"), [(0.0, signal.SIGINT), (1.2, signal.SIGTERM), (2.7, signal.SIGINT)])
def test_interrupted_installation_is_one_line_and_is_repeated(
    project: Path, parcel: Path, seconds: float, number: signal.Signals
) -> None:
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}
    interrupted = start(project, NO_INDEX, **settings)
    assert interrupted.stderr is not None
    assert interrupted.stderr.readline() == MAKING
    time.sleep(seconds)
    # A terminal signals all processes in the foreground.
    os.killpg(interrupted.pid, number)
    status, output = wait_for(interrupted)

    assert status in {130, -number}
    assert "Traceback" not in output
    assert [line for line in output.splitlines() if not line.startswith("cruddur: ")] == []
    assert wait_for(start(project, NO_INDEX, **settings))[0] == 0
    assert has_parcel(project)


def test_half_installed_pip_is_installed_again(project: Path, parcel: Path) -> None:
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}
    interrupted = start(project, NO_INDEX, **settings)
    wait_until(lambda: list((project / ".venv").glob("lib/python*/site-packages/pip/__init__.py")))
    os.killpg(interrupted.pid, signal.SIGKILL)
    wait_for(interrupted)

    assert wait_for(start(project, NO_INDEX, **settings)) == (0, MAKING + INSTALLING)
    assert has_parcel(project)


def test_full_standard_error_does_not_prevent_installation(project: Path, parcel: Path) -> None:
    settings = NO_INDEX | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run([project / "bin" / "venv", NOTHING], env=settings, stderr=full, check=False)

    assert result.returncode == 0
    assert has_parcel(project)
