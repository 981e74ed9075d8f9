"""The image, proven by its steps: what it holds, and that compose's commands do their work in it."""

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
from tests.image import DOCKERFILE, Image, context_files, freeze, lines, outcome, start
from tests.service import get

pytestmark = pytest.mark.slow

NOT_SENT = (".git", ".venv", ".local", ".bench", ".faults", "node_modules", "__pycache__", ".*_cache")
# What a developer's folder may hold besides.
SECRETS = (
    *(".env", ".git/config", ".local/keys/private.json", "bin/.env.production", "backend-flask/.env"),
    *("backend-flask/lib/.netrc", "db/prod.pem", "db/cruddur-2026.dump", "ops/tls.key"),
)
OURS = ("bin", "ops", "db", "backend-flask")
DESTROYERS = r"bin/(db-(drop|restore|setup)|rds-.*)|ops/(drop|restore|setup|rds.*)\.py"
LEFTOVERS = ("backend-flask/__pycache__/app.cpython-311.pyc", "db/sql/.home.sql.swp")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A developer's folder, with secrets and leftovers in it."""
    folder = tmp_path / "context"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_SENT))
    for name in SECRETS + LEFTOVERS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("s3cret")
    return folder


@contextmanager
def built(context: Path) -> Iterator[Image]:
    """The image, on a file system that nobody writes in."""
    folder = Path(tempfile.mkdtemp(prefix="cruddur-image-"))
    os.chown(folder, image.USER, image.GROUP)
    try:
        made = image.build(context, folder)
        freeze(made)
        yield made
    finally:
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        shutil.rmtree(folder)


def there(folder: Path) -> dict[str, int]:
    """When each file of a folder was written, but for those of the volume."""
    files = [path for path in folder.rglob("*") if ".local" not in path.parts]
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in files}


def pins(venv: Path) -> dict[str, str]:
    """The versions for the Python of an environment, by name."""
    (version,) = re.findall(r"^version = (\S+)", (venv / "pyvenv.cfg").read_text(), re.MULTILINE)
    python = {"python_full_version": version, "python_version": ".".join(version.split(".")[:2])}
    return {
        pin.name: str(pin.specifier).removeprefix("==")
        for pin in lines()
        if not pin.marker or pin.marker.evaluate(python)
    }


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Compose's services, whose `db` is a Postgres on this machine."""
    home = tmp_path / "db"
    home.mkdir()
    with cluster(home, options={"fsync": "off"}) as db:
        told = json.dumps(config()["services"]).replace("@db:5432/", f"@127.0.0.1:{db.port}/")
        yield json.loads(told)


def test_the_images_steps_make_what_compose_serves_the_seeded_feed_with(context: Path, compose: dict[str, Any]) -> None:
    migrate, backend, dev_token = (compose[name] for name in ("migrate", "backend", "dev-token"))
    with built(context) as made:
        holds_what_it_is_to_hold(made)
        before = there(made.root)
        # As each `up` does.
        for _ in range(2):
            status, _, err = outcome(made, command(migrate), migrate["environment"])
            assert (status, err) == (0, "")
        with serving(made, backend) as port:
            assert get(port, "/readyz") == (200, b'{"success": true}')
            assert b"This was imported as seed data!" in get(port, "/api/activities/home")[1]
            # A file of the contract's, and its page.
            assert [get(port, path)[0] for path in ("/openapi.json", "/docs")] == [200, 200]
            status, printed, err = outcome(
                made, [*command(dev_token, "entrypoint"), "andrewbrown"], dev_token["environment"]
            )
            assert (status, err) == (0, "")
            assert notifications(port, printed.strip()) == 200
            assert notifications(port, printed.strip() + "x") == 401
        assert there(made.root) == before


def holds_what_it_is_to_hold(made: Image) -> None:
    """Look into the image: the lock's packages, our files, and nothing to install more with."""
    assert {path.name for path in made.folder.iterdir()} == {".venv", ".local", "bin", "ops", "db", "backend-flask"}
    packages = next((made.folder / ".venv" / "lib").glob("python3.*/site-packages"))
    installed = {found.name.lower().replace("_", "-"): found.version for found in distributions(path=[str(packages)])}
    # Before Python 3.12 it comes with each environment.
    installed.pop("setuptools", None)
    assert installed == pins(made.folder / ".venv")
    names = {path.name for path in made.root.rglob("*")}
    assert [name for name in names if re.fullmatch(r"pip([\d.-].*)?|ensurepip|gcc|cc|c\+\+|make|\.git", name)] == []
    assert {"python3", "json"} < names
    secret = subprocess.run(["grep", "-rl", "s3cret", made.root], capture_output=True, text=True, check=False)
    assert (secret.returncode, secret.stdout) == (1, "")
    dropping = subprocess.run(["grep", "-rlE", "DROP DATABASE|delete_db_instance", *OURS], cwd=made.folder, check=False)
    assert dropping.returncode == 1
    keys = made.folder / ".local" / "keys"
    assert (keys.stat().st_uid, keys.stat().st_mode & 0o777) == (image.USER, 0o700)
    # A number, which whoever runs the image can tell from root's.
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", made.user)
    assert (made.command, made.env["HOST"], made.port) == (["bin/serve"], "0.0.0.0", "4567")


def is_healthy(made: Image, port: str) -> bool:
    """Whether the image's own health check succeeds for a service on that port."""
    return outcome(made, made.health, {"PORT": port})[0] == 0


@contextmanager
def serving(made: Image, backend: dict[str, Any]) -> Iterator[str]:
    """The port of compose's backend, which is healthy while it runs and no longer."""
    port = free_port()
    # Nobody is to be told to go elsewhere.
    with start(made, command(backend), backend["environment"] | {"PORT": port, "DRAIN_SECONDS": "0"}) as server:
        try:
            assert get(port, "/livez")[0] == 200
            assert health(made, backend, port) == 0
            assert is_healthy(made, port)
            yield port
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=30)
    assert server.returncode == 0
    assert health(made, backend, port) == 1
    assert not is_healthy(made, port)


def health(made: Image, backend: dict[str, Any], port: str) -> int:
    """The status of compose's health check."""
    kind, *words = backend["healthcheck"]["test"]
    assert kind == "CMD"
    return outcome(made, [word.replace(":4567/", f":{port}/") for word in words], {})[0]


def notifications(port: str, signed_in: str) -> int:
    """The status of what is for people who have signed in."""
    with closing(HTTPConnection("127.0.0.1", int(port), timeout=5)) as connection:
        connection.request("GET", "/api/activities/notifications", headers={"Authorization": f"Bearer {signed_in}"})
        return connection.getresponse().status


def test_nothing_that_may_be_a_secret_is_sent_to_the_engine(context: Path) -> None:
    sent = {name for name in context_files(context) if (context / name).is_file()}

    assert {name for name in sent if (context / name).read_bytes() == b"s3cret"} == set()
    assert {name.split("/")[0] for name in sent} == {"bin", "ops", "db", "backend-flask", ".dockerignore"}
    # And all that is there of them is, but for what drops a database or an instance.
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "bin", "ops", "db", "backend-flask"]
    ours = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sent - {".dockerignore"} == {name for name in ours if not re.fullmatch(DESTROYERS, name)}


def test_the_image_is_clean_by_its_linter() -> None:
    linter = [ROOT / ".venv" / "bin" / "hadolint", ROOT / DOCKERFILE]

    assert subprocess.run(linter, capture_output=True, text=True, check=False).stdout == ""


def test_each_image_is_of_one_version() -> None:
    pinned = re.compile(
        r"(python|postgres):\d+(\.\d+)+-(slim-)?trixie|nginx:\d+\.\d+\.\d+-alpine|jaegertracing/jaeger:\d+\.\d+\.\d+|build"
    )
    bases = [step.rest.split(" ")[0] for step in image.steps() if step.word == "FROM"]
    used = [service["image"] for service in config()["services"].values() if "build" not in service]

    assert len(set(bases)) == 1
    assert len(used) == 4
    assert [name for name in bases + used if not pinned.fullmatch(name)] == []
