"""The promises between files: who may import whom, and that what is written is what is there."""

import ast
import os
import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from flask import Flask

from ops.command import ROOT
from tests.settings import NAMES

BACKEND = ROOT / "backend-flask"
README = (ROOT / "README.md").read_text()
SCRIPTS = sorted(path.name for path in (ROOT / "bin").iterdir())
MIDDLE_LAYERS = ("services", "routes")


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            if node.module in {"lib", "routes", "services"}:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(
    ("layer", "forbidden"),
    [
        ("lib", {"services", "routes", "app", "serve", "ops"}),
        ("services", {"flask", "werkzeug", "psycopg", "psycopg_pool", "routes", "app", "serve", "ops", "os"}),
        ("routes", {"psycopg", "psycopg_pool", "app", "serve", "ops", "os"}),
    ],
)
def test_layers_import_downwards_only(layer: str, forbidden: set[str]) -> None:
    files = sorted((BACKEND / layer).glob("*.py"))
    assert files

    for path in files:
        assert not {module.split(".")[0] for module in imports(path)} & forbidden, path.name


def graph() -> dict[str, set[str]]:
    """What each module of the backend imports: our modules by their names, others by their first part."""
    files = {".".join(path.relative_to(BACKEND).with_suffix("").parts): path for path in BACKEND.rglob("*.py")}
    names = {name.removesuffix(".__init__") for name in files}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        modules = imports(path)
        ours = {module for module in modules if module in names}
        found[name.removesuffix(".__init__")] = ours | {module.split(".")[0] for module in modules - ours}
    return found


def reached(start: str, found: dict[str, set[str]]) -> set[str]:
    """What a module imports, and what those import, and so on."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = found.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def test_services_and_the_database_know_no_flask_also_not_transitively() -> None:
    found = graph()
    free = [name for name in found if name.startswith("services.")]
    free += ["lib.database", "lib.queries", "lib.exceptions", "lib.spans", "lib.pool", "lib.config", "lib.checks"]

    assert len(free) > 20
    for name in free:
        assert not reached(name, found) & {"flask", "werkzeug", "flask_cors"}, name
    assert "flask" in reached("routes.activities", found)


def test_no_module_imports_itself_by_way_of_others() -> None:
    found = graph()

    assert [name for name in found if name in reached(name, found)] == []


def packages_by_module() -> dict[str, str]:
    """Which installed package each module comes from."""
    return {
        ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__"): package.name.lower().replace("_", "-")
        for package in distributions()
        for file in package.files or []
        if file.suffix == ".py"
    }


def test_production_installs_what_the_code_imports_and_nothing_else() -> None:
    sources = [*BACKEND.rglob("*.py"), *(ROOT / "ops").glob("*.py"), *(ROOT / "db").rglob("*.py")]
    found = {module for path in sources for module in imports(path)}
    # The page of /docs is made of a package's files.
    found |= {name for path in sources for name in re.findall(r'files\("(\w+)"\)', path.read_text())}
    packages = packages_by_module()
    imported = {packages[module] for module in found if module in packages}
    pinned = set(re.findall(r"^([\w.-]+)==", (BACKEND / "requirements.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[<>=!~]", each)[0] for each in project["dependencies"]}

    assert declared - imported == set()
    assert imported - pinned == set()


def test_the_environment_is_read_through_config_alone() -> None:
    readers = {path.name for path in BACKEND.rglob("*.py") if re.search("os.environ|getenv", path.read_text())}

    # The SDK reads its variables itself. telemetry.py sets defaults for three of them.
    assert readers == {"telemetry.py"}
    telemetry = (BACKEND / "lib" / "telemetry.py").read_text()
    assert re.findall(r"os\.environ\S*", telemetry) == ["os.environ[name]", "os.environ.get(name)"]


def table(heading: str) -> list[list[str]]:
    """The rows of the README's table under a heading."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_the_readme_lists_every_route(app: Flask) -> None:
    listed = {(method, path.strip("`")) for method, path, _ in table("API")}
    rules = {
        (method, re.sub(r"<\w+:", "<", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert listed == rules


def test_the_readme_and_the_example_list_every_setting_and_no_other() -> None:
    listed = {name for row in table("Configuration") for name in re.findall(r"`(\w+)`", row[0])}
    example = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    sources = [*BACKEND.rglob("*.py"), *(ROOT / "ops").glob("*.py"), *(ROOT / "bin").iterdir()]
    code = "".join(path.read_text() for path in sources)

    observability = (ROOT / "docs" / "observability.md").read_text()
    assert [name for name in NAMES if name not in listed and f"`{name}`" not in observability] == []
    assert {name for name in NAMES if not name.startswith("OTEL_")} <= listed
    assert listed - {"TEST_CONNECTION_URL"} == {name for name in listed if name in code or name.startswith("OTEL_")}
    read = set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", code))
    # A request's environment (PEP 3333) is no setting.
    request = re.compile("HTTP_|CONTENT_LENGTH|REQUEST_METHOD|SERVER_PROTOCOL|PATH_INFO|QUERY_STRING")
    assert {name for name in read if not request.match(name)} <= listed
    # Postgres's password and the like are compose's alone.
    assert example - set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())) <= listed
    assert listed - example <= {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_short_says_what_it_is_for_and_stops_at_a_failure(name: str) -> None:
    path = ROOT / "bin" / name
    lines = path.read_text().splitlines()

    assert os.access(path, os.X_OK)
    assert lines[0] == "#!/usr/bin/env bash"
    assert re.match(r"# [A-Z].*", lines[1])
    assert "set -euo pipefail" in lines
    assert len(lines) <= 30


def test_the_readme_names_every_script() -> None:
    written = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    documents = "".join(path.read_text() for path in written)

    # bin/venv and bin/python are what the others are made with.
    assert {name for name in SCRIPTS if f"bin/{name}" not in documents} == {"python", "venv"}


def test_every_file_that_the_documents_link_to_is_there() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(((?!https?:)[^)]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("name", ["requirements-test.txt", "requirements-dev.txt", "backend-flask/requirements.txt"])
def test_requirements_are_pinned_by_hash_and_name_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^[\w.\[\]-]+==\S+", text, re.MULTILINE)

    assert len(pins) > 20
    # Each requirement goes on, with a hash in its second line.
    assert len(re.findall(r"^[\w.\[\]-]+==.* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) == len(pins)
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
