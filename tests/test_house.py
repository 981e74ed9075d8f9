"""The promises between files: who may import whom, and that what is written is what is there."""

import ast
import os
import re
from pathlib import Path

import pytest
from flask import Flask

from lib.config import OTEL_SETTINGS, SETTINGS
from ops.command import ROOT

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


def test_only_the_start_looks_at_the_environment() -> None:
    readers = {path.name for path in BACKEND.rglob("*.py") if re.search("os.environ|getenv", path.read_text())}

    assert readers == {"serve.py"}


def table(heading: str) -> list[list[str]]:
    """The rows of the README's table under a heading."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_the_readme_lists_every_route(app: Flask) -> None:
    listed = {(method, path.strip("`")) for method, path, _ in table("Routes")}
    rules = {
        (method, re.sub(r"<\w+:", "<", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert listed == rules


def test_the_readme_and_the_example_list_every_setting_and_no_other() -> None:
    listed = {name for row in table("Settings") for name in re.findall(r"`(\w+)`", row[0])}
    example = set(re.findall(r"^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    sources = [*BACKEND.rglob("*.py"), *(ROOT / "ops").glob("*.py"), *(ROOT / "bin").iterdir()]
    code = "".join(path.read_text() for path in sources)

    assert listed >= SETTINGS.keys()
    observing = (ROOT / "docs" / "observing.md").read_text()
    assert [name for name in OTEL_SETTINGS if f"`{name}`" not in observing] == []
    assert listed - {"TEST_CONNECTION_URL"} == {name for name in listed if name in code or name.startswith("OTEL_")}
    read = set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", code))
    # A request's environment (PEP 3333) is no setting.
    request = re.compile("HTTP_|CONTENT_LENGTH|REQUEST_METHOD|PATH_INFO|QUERY_STRING")
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


def test_nobody_registers_what_would_not_be_run(app: Flask) -> None:
    # lib/service.py has in their place what every request needs.
    hooks = (app.before_request_funcs, app.after_request_funcs, app.teardown_request_funcs, app.url_value_preprocessors)

    assert [functions for each in hooks for functions in each.values() if functions] == []
    assert app.teardown_appcontext_funcs == []
