"""bin/venv: what it makes, whatever the caller's pip and Python are set to, and what it says when it can't."""

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
from ops.command import ROOT

pytestmark = pytest.mark.slow

NOTHING = "nothing.txt"
MAKING, INSTALLING = "cruddur: making .venv\n", f"cruddur: installing {NOTHING} into .venv\n"
# No index of the machine's, and no waiting for one that is not there.
NO_INDEX = {name: value for name, value in CLEAN.items() if not name.startswith(("PIP_", "PYTHON"))}
NO_INDEX |= {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that needs no package, in a path with a space in it."""
    project = tmp_path / "a project"
    for name in ("bin/venv", "ops/venv.py"):
        (project / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, project / name)
    (project / NOTHING).touch()
    return project


def start(project: Path, environ: Mapping[str, str] = CLEAN, **settings: str) -> "subprocess.Popen[str]":
    """Start to make the environment of `project`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return launch([project / "bin" / "venv", NOTHING], env={**environ, **settings}, text=True, **pipes)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """How it ended, and what it said."""
    out, err = process.communicate(timeout=60)
    assert out == ""
    return process.returncode, err


def test_two_at_once_make_one_environment(project: Path) -> None:
    both = [start(project), start(project)]

    said = sorted(ended(process) for process in both)

    assert said == [(0, ""), (0, MAKING + INSTALLING)]
    assert subprocess.run([project / ".venv" / "bin" / "python", "-c", "import pip"], check=False).returncode == 0


def test_an_environment_that_stands_is_left_alone_until_the_requirements_change(project: Path) -> None:
    assert ended(start(project))[1] != ""
    assert ended(start(project)) == (0, "")

    (project / NOTHING).write_text("# another\n")
    assert ended(start(project)) == (0, INSTALLING)


def test_an_environment_whose_python_is_gone_is_made_anew(project: Path) -> None:
    ended(start(project))
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")

    assert ended(start(project)) == (0, MAKING + INSTALLING)
    assert subprocess.run([python, "-c", ""], check=False).returncode == 0


def test_an_environment_that_was_interrupted_before_it_had_a_pip_is_made_anew(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / ".venv"], check=True)

    assert ended(start(project)) == (0, MAKING + INSTALLING)


def test_a_requirement_without_its_hash_is_not_installed_and_tried_again(project: Path) -> None:
    (project / NOTHING).write_text("flask==3.1.3\n")

    for _ in range(2):
        status, said = ended(start(project))
        assert status == 1
        assert "hash" in said.lower()
        assert said.endswith(f"cruddur: {NOTHING} could not be installed: see above; run this again to go on\n")


def test_a_python_without_venv_is_told_what_to_install(project: Path, tmp_path: Path) -> None:
    # As Debian's is.
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

    status, said = ended(start(project, PATH=f"{tmp_path}:{CLEAN['PATH']}"))

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (status, said.count("\n")) == (1, 1)
    assert said.endswith(f"(on Debian and Ubuntu: apt install python{version}-venv)\n")


def test_a_machine_without_a_python_that_is_new_enough_is_told(project: Path, tmp_path: Path) -> None:
    for name in ("python3", "python3.11"):
        old = tmp_path / name
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
    for name in ("env", "bash", "dirname", "readlink"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")

    status, said = ended(start(project, PATH=str(tmp_path)))

    assert status == 1
    assert said == "cruddur: no Python 3.11 or newer on the PATH: install one, with its venv module\n"


def wheel(folder: Path) -> str:
    """Put the wheel of a package `parcel` into a folder. Returns the line that requires it."""
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
    """The folder of the one package that the project requires."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    (project / NOTHING).write_text(wheel(folder))
    return folder


def has_parcel(project: Path) -> bool:
    """Whether the project's environment has the package."""
    python = project / ".venv" / "bin" / "python"
    return subprocess.run([python, "-I", "-c", "import parcel"], check=False, capture_output=True).returncode == 0


def test_a_terminal_is_shown_pips_progress_and_nothing_else_is(project: Path, parcel: Path) -> None:
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}
    reader, terminal = os.openpty()
    done = subprocess.run(
        [project / "bin" / "venv", NOTHING],
        env=NO_INDEX | settings,
        stdout=subprocess.PIPE,
        stderr=terminal,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    said = os.read(reader, 100_000).decode()
    os.close(reader)

    assert (done.returncode, done.stdout) == (0, b"")
    assert said.startswith((MAKING + INSTALLING).replace("\n", "\r\n"))
    assert "Successfully installed parcel-1.0" in said
    shutil.rmtree(project / ".venv")
    assert ended(start(project, NO_INDEX, **settings)) == (0, MAKING + INSTALLING)


# Each of which would have it put elsewhere, not at all, or by another Python.
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
def test_variables_for_another_environment_do_not_reach_ours(
    project: Path, parcel: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    # Modules that no Python starts with.
    (tmp_path / "modules").mkdir()
    for module in ("encodings", "pip", "venv"):
        (tmp_path / "modules" / f"{module}.py").write_text("raise SystemExit('of another')")
    settings = {name: value.format(tmp=tmp_path) for name, value in variables.items()}
    settings |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}

    assert ended(start(project, NO_INDEX, **settings)) == (0, MAKING + INSTALLING)
    assert has_parcel(project)


@pytest.mark.parametrize("section", ["global", "install"])
def test_a_configuration_file_says_where_the_index_is_and_nothing_of_where_to_install(
    project: Path, parcel: Path, tmp_path: Path, section: str
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        f"[{section}]\nno-index = true\nfind-links =\n  {parcel}\n  {tmp_path}\n"
        f"target = {tmp_path}/target\nuser = true\ndry-run = true\nquiet = 3\n"
    )

    assert ended(start(project, NO_INDEX, PIP_CONFIG_FILE=str(file)))[0] == 0
    assert has_parcel(project)
    assert not (tmp_path / "target").exists()


def test_an_index_and_a_proxy_of_the_callers_hold(project: Path, parcel: Path) -> None:
    (parcel / "parcel").mkdir()
    (parcel / "parcel-1.0-py3-none-any.whl").rename(parcel / "parcel" / "parcel-1.0-py3-none-any.whl")
    (parcel / "simple").symlink_to(".")
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        """The index, which a proxy is asked for by its whole URL."""

        def translate_path(self, path: str) -> str:
            """Return the file that a URL names."""
            asked.append(path)
            return super().translate_path(path.removeprefix("http://index.example"))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with listening(HTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(parcel)))) as port:
        index = {"PIP_INDEX_URL": "http://index.example/simple", "PIP_TRUSTED_HOST": "index.example"}
        settings = index | {"HTTP_PROXY": f"http://127.0.0.1:{port}", "http_proxy": f"http://127.0.0.1:{port}"}
        assert ended(start(project, NO_INDEX, **settings))[0] == 0

    assert has_parcel(project)
    assert asked[0] == "http://index.example/simple/parcel/"


@pytest.mark.usefixtures("parcel")
def test_without_a_network_one_line_says_so_and_what_is_installed_goes_on(project: Path) -> None:
    with refusing() as url:
        away = {"PIP_INDEX_URL": f"{url}/simple", "PIP_RETRIES": "1"}
        status, said = ended(start(project, NO_INDEX, **away))
        assert status == 1
        assert said.startswith(
            f"{MAKING}{INSTALLING}cruddur: {NOTHING} could not be installed: the package index does not answer ("
        )
        assert said.count("\n") == 3

        (project / NOTHING).write_text("")
        assert ended(start(project, NO_INDEX, **away)) == (0, INSTALLING)
        assert ended(start(project, NO_INDEX, **away)) == (0, "")


def test_what_pip_has_put_elsewhere_is_not_noted_as_installed(project: Path, parcel: Path) -> None:
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}
    assert ended(start(project, NO_INDEX, **settings))[0] == 0
    noted = project / ".venv" / NOTHING
    noted.unlink()
    # A pip that installs nothing, as one that is set up in a way that we do not know.
    (package,) = (project / ".venv").glob("lib/python*/site-packages/pip")
    python = project / ".venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "-q", "uninstall", "-y", "parcel"], check=True)
    (package / "__main__.py").write_text("""import sys
if "--no-index" in sys.argv:
    sys.exit("ERROR: No matching distribution found for parcel==1.0")
""")

    status, said = ended(start(project, NO_INDEX, **settings))

    assert status == 1
    assert said.endswith(f"cruddur: {NOTHING} could not be installed: see above; run this again to go on\n")
    assert not noted.exists()


@pytest.mark.parametrize(("seconds", "number"), [(0.0, signal.SIGINT), (1.2, signal.SIGTERM), (2.7, signal.SIGINT)])
def test_ctrl_c_while_it_installs_is_a_line_and_the_next_start_goes_on(
    project: Path, parcel: Path, seconds: float, number: signal.Signals
) -> None:
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}
    interrupted = start(project, NO_INDEX, **settings)
    assert interrupted.stderr is not None
    assert interrupted.stderr.readline() == MAKING
    time.sleep(seconds)
    # As a terminal does: to all of the foreground's processes.
    os.killpg(interrupted.pid, number)
    status, said = ended(interrupted)

    assert status in {130, -number}
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if not line.startswith("cruddur: ")] == []
    assert ended(start(project, NO_INDEX, **settings))[0] == 0
    assert has_parcel(project)


def test_a_standard_error_that_is_full_does_not_keep_it_from_installing(project: Path, parcel: Path) -> None:
    settings = NO_INDEX | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(parcel)}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([project / "bin" / "venv", NOTHING], env=settings, stderr=full, check=False)

    assert done.returncode == 0
    assert has_parcel(project)
