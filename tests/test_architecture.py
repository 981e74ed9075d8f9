"""The architecture: imports between layers, and agreement of code, documents, settings and scripts."""

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
# Old names of settings, which work for one release.
DEPRECATED = {"LOG_LEVEL", "CRUDDUR_HOME"}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, at any level of it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            if node.module in {"lib", "routes", "services"}:
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


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
    """Return each backend module's imports: ours by full name, others by their top-level package."""
    files = {".".join(path.relative_to(BACKEND).with_suffix("").parts): path for path in BACKEND.rglob("*.py")}
    names = {name.removesuffix(".__init__") for name in files}
    imports_by_module: dict[str, set[str]] = {}
    for name, path in files.items():
        modules = imports(path)
        ours = {module for module in modules if module in names}
        imports_by_module[name.removesuffix(".__init__")] = ours | {module.split(".")[0] for module in modules - ours}
    return imports_by_module


def transitive_imports(start: str, imports_by_module: dict[str, set[str]]) -> set[str]:
    """Return a module's imports, direct and transitive."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports_by_module.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def test_services_and_database_layer_never_import_flask() -> None:
    imports_by_module = graph()
    free = [name for name in imports_by_module if name.startswith("services.")]
    free += ["lib.database", "lib.queries", "lib.exceptions", "lib.spans", "lib.pool", "lib.config", "lib.checks"]

    assert len(free) > 20
    for name in free:
        assert not transitive_imports(name, imports_by_module) & {"flask", "werkzeug", "flask_cors"}, name
    assert "flask" in transitive_imports("routes.activities", imports_by_module)


def test_imports_have_no_cycle() -> None:
    imports_by_module = graph()

    assert [name for name in imports_by_module if name in transitive_imports(name, imports_by_module)] == []


def modules(*folders: str) -> dict[Path, set[str]]:
    """Return the imports of each of our modules below these folders."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT): imports(path) for path in paths if "peers" not in path.parts}


def test_tests_import_no_other_tests_and_only_the_benchmark_or_drill_under_test() -> None:
    for path, imported in modules("tests").items():
        assert [name for name in imported if name.rpartition(".")[2].startswith("test_")] == [], path
        packages = {name.split(".")[0] for name in imported}
        assert packages & {"bench", "faults"} <= {path.stem.removeprefix("test_")}, path


def test_shared_modules_import_no_tests_benchmarks_or_drills() -> None:
    shared = modules("harness")

    assert len(shared) > 10
    for path, imported in shared.items():
        assert not {name.split(".")[0] for name in imported} & {"tests", "bench", "faults"}, path


@pytest.mark.parametrize(
    ("code", "module"), [(r"\bPopen\(", "processes.py"), (r"\bBaseHTTPRequestHandler\b", "stubs.py")]
)
def test_one_module_starts_processes_and_one_starts_http_stubs(code: str, module: str) -> None:
    texts = {path: (ROOT / path).read_text() for path in modules("harness", "tests", "bench", "faults")}

    assert {path for path, text in texts.items() if re.search(code, text)} == {Path("harness", module)}


def packages_by_module() -> dict[str, str]:
    """Return the installed package of each module."""
    return {
        ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__"): name
        for package in distributions()
        # Read the name once: each access parses the package's metadata.
        for name in [package.name.lower().replace("_", "-")]
        for file in package.files or []
        if file.suffix == ".py"
    }


def test_declared_and_imported_packages_agree() -> None:
    sources = [*BACKEND.rglob("*.py"), *(ROOT / "ops").glob("*.py"), *(ROOT / "db").rglob("*.py")]
    imported_modules = {module for path in sources for module in imports(path)}
    # The page of /docs consists of a package's files.
    imported_modules |= {name for path in sources for name in re.findall(r'files\("(\w+)"\)', path.read_text())}
    packages = packages_by_module()
    imported = {packages[module] for module in imported_modules if module in packages}
    pinned = set(re.findall(r"^([\w.-]+)==", (BACKEND / "requirements.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[<>=!~]", each)[0] for each in project["dependencies"]}

    assert declared - imported == set()
    assert imported - pinned == set()


def test_environment_is_read_through_config_only() -> None:
    readers = {path.name for path in BACKEND.rglob("*.py") if re.search("os.environ|getenv", path.read_text())}

    # The SDK reads its variables itself. telemetry.py sets defaults for three of them.
    assert readers == {"telemetry.py"}
    telemetry = (BACKEND / "lib" / "telemetry.py").read_text()
    assert re.findall(r"os\.environ\S*", telemetry) == ["os.environ[name]", "os.environ.get(name)"]


def table(heading: str) -> list[list[str]]:
    """Return the rows of the README's table under a heading."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_readme_lists_every_route(app: Flask) -> None:
    listed = {(method, path.strip("`")) for method, path, _ in table("API")}
    rules = {
        (method, re.sub(r"<\w+:", "<", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert listed == rules


def test_readme_and_example_list_every_setting_and_no_other() -> None:
    listed = {name for row in table("Configuration") for name in re.findall(r"`(\w+)`", row[0])}
    example = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    sources = [*BACKEND.rglob("*.py"), *(ROOT / "ops").glob("*.py"), *(ROOT / "bin").iterdir()]
    code = "".join(path.read_text() for path in sources)

    observability = (ROOT / "docs" / "observability.md").read_text()
    assert [name for name in NAMES if name not in listed and f"`{name}`" not in observability] == []
    assert {name for name in NAMES if not name.startswith("OTEL_")} <= listed
    assert listed - {"TEST_CONNECTION_URL"} == {name for name in listed if name in code or name.startswith("OTEL_")}
    read = set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", code))
    # The variables of a WSGI environment (PEP 3333) are no settings.
    request = re.compile("HTTP_|CONTENT_LENGTH|REQUEST_METHOD|SERVER_PROTOCOL|PATH_INFO|QUERY_STRING")
    assert {name for name in read if not request.match(name)} <= listed
    # Only compose reads the remaining settings, such as Postgres's password.
    assert example - set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())) <= listed
    assert example & DEPRECATED == set()
    assert listed - example - DEPRECATED <= {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_short_strict_and_has_a_summary(name: str) -> None:
    path = ROOT / "bin" / name
    lines = path.read_text().splitlines()

    assert os.access(path, os.X_OK)
    assert lines[0] == "#!/usr/bin/env bash"
    assert re.match(r"# [A-Z].*", lines[1])
    assert "set -euo pipefail" in lines
    assert len(lines) <= 30


def test_documents_name_every_script() -> None:
    written = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    documents = "".join(path.read_text() for path in written)

    # bin/venv and bin/python only support the other scripts.
    assert {name for name in SCRIPTS if f"bin/{name}" not in documents} == {"python", "venv"}


def anchors(document: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_between_documents_resolve() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(((?!https?:)[^)]+)\)", document.read_text()):
            name, _, anchor = target.partition("#")
            path = document.parent / name if name else document
            assert path.exists(), f"{document.name}: {target}"
            assert not anchor or anchor in anchors(path.read_text()), f"{document.name}: {target}"


@pytest.mark.parametrize("name", ["requirements-test.txt", "requirements-dev.txt", "backend-flask/requirements.txt"])
def test_requirements_are_pinned_by_hash_without_an_index_url(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^[\w.\[\]-]+==\S+", text, re.MULTILINE)

    assert len(pins) > 20
    # Each requirement continues in a second line with a hash.
    assert len(re.findall(r"^[\w.\[\]-]+==.* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) == len(pins)
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
