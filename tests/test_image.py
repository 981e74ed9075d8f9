"""The image, built by replaying the Dockerfile's steps: its content, and compose's commands in it."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from harness.ports import free_port
from harness.postgres import cluster
from ops.command import ROOT
from tests import image
from tests.compose import command, config
from tests.image import DOCKERFILE, Image, context_files, freeze, outcome, requirements, start
from tests.service import get

pytestmark = pytest.mark.slow

NOT_SENT = (".git", ".venv", ".local", ".bench", ".faults", "node_modules", "__pycache__", ".*_cache")
# Files with secrets that a developer's folder may also contain.
SECRETS = (
    *(".env", ".git/config", ".local/keys/private.json", "bin/.env.production", "backend-flask/.env"),
    *("backend-flask/lib/.netrc", "db/prod.pem", "db/cruddur-2026.dump", "ops/tls.key"),
)
OURS = ("bin", "ops", "db", "backend-flask")
DESTROYERS = r"bin/(db-(drop|restore|setup)|(rds|ecs)-.*)|ops/(drop_database|restore|setup|(rds|ecs).*)\.py"
LEFTOVERS = ("backend-flask/__pycache__/app.cpython-311.pyc", "db/sql/.home.sql.swp")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Copy the project into a folder with secrets and leftovers, as a developer's may contain."""
    folder = tmp_path / "context"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_SENT))
    for name in SECRETS + LEFTOVERS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("s3cret")
    return folder


@contextmanager
def built_image(context: Path) -> Iterator[Image]:
    """Build the image on a read-only file system."""
    folder = Path(tempfile.mkdtemp(prefix="cruddur-image-"))
    os.chown(folder, image.USER, image.GROUP)
    try:
        built = image.build(context, folder)
        freeze(built)
        yield built
    finally:
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        shutil.rmtree(folder)


def modification_times(folder: Path) -> dict[str, int]:
    """Return each file's modification time, without the files of the volume."""
    files = [path for path in folder.rglob("*") if ".local" not in path.parts]
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in files}


def pins(venv: Path) -> dict[str, str]:
    """Return the pinned versions for the Python of an environment, by name."""
    (version,) = re.findall(r"^version = (\S+)", (venv / "pyvenv.cfg").read_text(), re.MULTILINE)
    python = {"python_full_version": version, "python_version": ".".join(version.split(".")[:2])}
    return {
        pin.name: str(pin.specifier).removeprefix("==")
        for pin in requirements()
        if not pin.marker or pin.marker.evaluate(python)
    }


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return compose's services, with a Postgres of this machine as `db`."""
    home = tmp_path / "db"
    home.mkdir()
    with cluster(home, options={"fsync": "off"}) as db:
        services = json.dumps(config()["services"]).replace("@db:5432/", f"@127.0.0.1:{db.port}/")
        yield json.loads(services)


def test_image_serves_the_seeded_feed_with_composes_commands(context: Path, compose: dict[str, Any]) -> None:
    migrate, backend, dev_token = (compose[name] for name in ("migrate", "backend", "dev-token"))
    with built_image(context) as built:
        check_content(built)
        before = modification_times(built.root)
        # Each `up` runs the migration.
        for _ in range(2):
            status, _, err = outcome(built, command(migrate), migrate["environment"])
            assert (status, err) == (0, "")
        with serving(built, backend) as port:
            assert get(port, "/readyz") == (200, b'{"success": true}')
            assert b"This was imported as seed data!" in get(port, "/api/activities/home")[1]
            # The page with its assets, the OpenAPI document, and the page of that.
            paths = ("/", "/web/0/app.js", "/web/0/style.css", "/web/0/icon.svg", "/openapi.json", "/docs")
            assert [get(port, path)[0] for path in paths] == [200] * len(paths)
            status, access_token, err = outcome(
                built, [*command(dev_token, "entrypoint"), "andrewbrown"], dev_token["environment"]
            )
            assert (status, err) == (0, "")
            assert notifications(port, access_token.strip()) == 200
            assert notifications(port, access_token.strip() + "x") == 401
        assert modification_times(built.root) == before


def check_content(built: Image) -> None:
    """Check the image's content: the lock's packages, our files, and no tools for installing more."""
    assert {path.name for path in built.folder.iterdir()} == {".venv", ".local", "bin", "ops", "db", "backend-flask"}
    packages = next((built.folder / ".venv" / "lib").glob("python3.*/site-packages"))
    installed = {
        package.name.lower().replace("_", "-"): package.version for package in distributions(path=[str(packages)])
    }
    # Before Python 3.12, each environment contains setuptools.
    installed.pop("setuptools", None)
    assert installed == pins(built.folder / ".venv")
    names = {path.name for path in built.root.rglob("*")}
    assert [name for name in names if re.fullmatch(r"pip([\d.-].*)?|ensurepip|gcc|cc|c\+\+|make|\.git", name)] == []
    assert {"python3", "json"} < names
    secret = subprocess.run(["grep", "-rl", "s3cret", built.root], capture_output=True, text=True, check=False)
    assert (secret.returncode, secret.stdout) == (1, "")
    dropping = subprocess.run(
        ["grep", "-rlE", "DROP DATABASE|delete_db_instance", *OURS], cwd=built.folder, check=False
    )
    assert dropping.returncode == 1
    keys = built.folder / ".local" / "keys"
    assert (keys.stat().st_uid, keys.stat().st_mode & 0o777) == (image.USER, 0o700)
    # A numeric user, so that the container's runtime can tell it from root.
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", built.user)
    assert (built.command, built.env["HOST"], built.port) == (["bin/serve"], "0.0.0.0", "4567")


def is_healthy(built: Image, port: str) -> bool:
    """Return whether the image's own health check succeeds for a service on that port."""
    return outcome(built, built.health, {"PORT": port})[0] == 0


@contextmanager
def serving(built: Image, backend: dict[str, Any]) -> Iterator[str]:
    """Run compose's backend and yield its port. The health checks pass meanwhile and fail afterwards."""
    port = free_port()
    # Skip the drain: no load balancer needs to notice.
    with start(built, command(backend), backend["environment"] | {"PORT": port, "DRAIN_SECONDS": "0"}) as server:
        try:
            assert get(port, "/livez")[0] == 200
            assert health(built, backend, port) == 0
            assert is_healthy(built, port)
            yield port
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=30)
    assert server.returncode == 0
    assert health(built, backend, port) == 1
    assert not is_healthy(built, port)


def health(built: Image, backend: dict[str, Any], port: str) -> int:
    """Return the exit status of compose's health check."""
    kind, *words = backend["healthcheck"]["test"]
    assert kind == "CMD"
    return outcome(built, [word.replace(":4567/", f":{port}/") for word in words], {})[0]


def notifications(port: str, access_token: str) -> int:
    """Return the status of a route that requires login."""
    with closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as connection:
        connection.request("GET", "/api/activities/notifications", headers={"Authorization": f"Bearer {access_token}"})
        return connection.getresponse().status


def test_build_context_contains_no_secrets(context: Path) -> None:
    sent = {name for name in context_files(context) if (context / name).is_file()}

    assert {name for name in sent if (context / name).read_bytes() == b"s3cret"} == set()
    assert {name.split("/")[0] for name in sent} == {"bin", "ops", "db", "backend-flask", ".dockerignore"}
    # The context has all our other files, except for commands that drop a database or an instance.
    list_files = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "bin", "ops", "db", "backend-flask"]
    ours = subprocess.run(list_files, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sent - {".dockerignore"} == {name for name in ours if not re.fullmatch(DESTROYERS, name)}


def test_hadolint_passes() -> None:
    linter = [ROOT / ".venv" / "bin" / "hadolint", ROOT / DOCKERFILE, ROOT / "nginx" / "Dockerfile"]

    assert subprocess.run(linter, capture_output=True, text=True, check=False).stdout == ""


def test_base_images_have_a_full_version() -> None:
    pinned = re.compile(
        r"(python|postgres):\d+(\.\d+)+-(slim-)?trixie|nginx:\d+\.\d+\.\d+-alpine|jaegertracing/jaeger:\d+\.\d+\.\d+|build"
        r"|edoburu/pgbouncer:v\d+\.\d+\.\d+-p\d+"
    )
    bases = [step.rest.split(" ")[0] for step in image.steps() if step.word == "FROM"]
    used = [service["image"] for service in config()["services"].values() if "build" not in service]

    assert len(set(bases)) == 1
    assert len(used) == 6
    assert [name for name in bases + used if not pinned.fullmatch(name)] == []
