"""The OpenAPI document and its page, compared with the routes and with docs/contract.md."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from jsonschema_rs import Draft202012Validator

from harness.browser import CHROMIUM, DUMP_OPTIONS
from harness.nginx import BEHIND, PROGRAM, nginx
from lib.auth import ATTRIBUTE
from lib.pagination import NEWEST, OLDEST, Cursor, Keyset
from lib.text import has_control, is_blank
from ops.command import ROOT
from routes.docs import ASSETS
from tests.nginx_prefix import PREFIX, PREFIXED
from tests.service import serving

SIGN_IN: dict[str, list[dict[str, list[str]]]] = {
    "no": [],
    "optional": [{}, {"bearer": []}],
    "required": [{"bearer": []}],
}
PROBLEM = "application/problem+json"
# Codes of an unknown method, and of responses that no operation sends yet.
CODES_OF_NO_OPERATION = {"method_not_allowed", "generic_403"}


@pytest.fixture
def document(client: FlaskClient) -> Any:
    """Return the document as served."""
    return client.get("/openapi.json").json


def nodes(part: Any) -> Iterator[dict[str, Any]]:
    """Yield each object in a part of the document."""
    inner: Iterable[Any] = part if isinstance(part, list) else ()
    if isinstance(part, dict):
        yield part
        inner = part.values()
    for each in inner:
        yield from nodes(each)


def resolve(document: Any, node: Any) -> Any:
    """Return the component that a reference names, or the node itself."""
    if "$ref" not in node:
        return node
    _, kind, name = node["$ref"].removeprefix("#/").split("/")
    return document["components"][kind][name]


def examples(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each example with its schema."""
    for node in nodes(document):
        if "schema" in node:
            for example in node.get("examples", {}).values():
                yield resolve(document, example)["value"], node["schema"]
            if "example" in node:
                yield node["example"], node["schema"]
        elif isinstance(node.get("examples"), list):
            yield from ((example, node) for example in node["examples"])


def operations(document: Any) -> dict[tuple[str, str], Any]:
    """Return the operations by method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def validator(document: Any, schema: Any) -> Draft202012Validator:
    """Return a validator for `schema`, a part of the document."""
    return Draft202012Validator({**schema, "components": document["components"]}, validate_formats=True)


def contract(heading: str) -> list[str]:
    """Return the rows of the contract's table under a heading."""
    section = (ROOT / "docs" / "contract.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def test_document_is_valid_openapi(document: Any) -> None:
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        validator(document, schema)

    references = {node["$ref"] for node in nodes(document) if "$ref" in node}
    assert references == {
        f"#/components/{kind}/{name}"
        for kind, components in document["components"].items()
        for name in components
        if kind != "securitySchemes"
    }
    ids = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(ids)) == len(ids)


def test_routes_document_and_contract_agree(app: Flask, document: Any) -> None:
    routes = {
        (
            method,
            re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule),
            getattr(app.view_functions[rule.endpoint], ATTRIBUTE).value,
        )
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    documented = {
        (*operation, word)
        for operation, definition in operations(document).items()
        for word, security in SIGN_IN.items()
        if definition["security"] == security
    }
    rows = [re.match(r"\| ([A-Z]+(?: and [A-Z]+)*) `(\S+)` \| (\w+)", row) for row in contract("Endpoints")]

    assert documented == routes
    assert {(method, row[2], row[3]) for row in rows for method in row[1].split(" and ")} == routes


def test_document_and_contract_list_the_same_codes(document: Any) -> None:
    schemas = document["components"]["schemas"]
    sent = {code for name, schema in schemas.items() if name.endswith("Codes") for code in schema["items"]["enum"]}
    rows = [row.split("|")[2] for row in contract("Error codes")]

    assert {code for row in rows for code in re.findall("`([a-z0-9_]+)`", row)} == set(schemas["Code"]["enum"])
    assert set(schemas["Code"]["enum"]) - sent == CODES_OF_NO_OPERATION


def test_changelog_package_and_document_have_the_same_version(document: Any) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)

    assert released[0] == package["version"] == document["info"]["version"]


def test_quickstart_begins_with_the_two_commands_and_docker_compose() -> None:
    quickstart = (ROOT / "README.md").read_text().split("## Quickstart\n")[1]
    blocks = re.findall(r"^```\n(.*?)^```$", quickstart, re.DOTALL | re.MULTILINE)

    assert [line.split()[0] for line in blocks[0].splitlines()] == ["bin/dev", "bin/test"]
    assert blocks[1] == "docker compose up\n"


def test_error_response_has_both_media_types(document: Any) -> None:
    # The page is the body of its own failures too.
    bodies: tuple[set[str], ...] = (
        {"application/json", PROBLEM},
        {"text/html", PROBLEM},
        {"text/html", "application/json", PROBLEM},
        set(),
    )
    failures = {name: each for name, each in document["components"]["responses"].items() if name != "WebPage"}
    for response in failures.values():
        assert set(response.get("content", {})) in bodies


def test_every_body_has_a_valid_example(document: Any) -> None:
    for example, schema in examples(document):
        validator(document, schema).validate(example)

    media_types = [node["content"] for node in nodes(document) if "schema" not in node and "content" in node]
    bodies = [body for content in media_types for name, body in content.items() if name.endswith("json")]
    assert len(bodies) > 50
    assert [body for body in bodies if not {"example", "examples"} & body.keys()] == []


@pytest.mark.slow
def test_document_and_service_agree_on_blank_text(document: Any) -> None:
    is_text = validator(document, {"$ref": "#/components/schemas/Message280"}).is_valid

    signs = [chr(number) for number in range(1, sys.maxunicode + 1) if not 0xD800 <= number <= 0xDFFF]
    assert [ascii(sign) for sign in signs if is_text(sign) == is_blank(sign)] == []

    assert not is_text("")
    assert not is_text("a\0")
    assert not is_text("\0a")


@pytest.mark.slow
def test_document_and_service_agree_on_display_names(document: Any) -> None:
    is_name = validator(document, {"$ref": "#/components/schemas/DisplayName"}).is_valid

    signs = [chr(number) for number in range(1, sys.maxunicode + 1) if not 0xD800 <= number <= 0xDFFF]
    assert [ascii(sign) for sign in signs if is_name(f"a{sign}b") == has_control(sign)] == []
    assert [ascii(sign) for sign in signs if is_name(sign) == (is_blank(sign) or has_control(sign))] == []


def test_cursor_schema_accepts_the_services_cursors(document: Any) -> None:
    is_cursor = validator(document, document["components"]["parameters"]["Cursor"]["schema"]).is_valid
    positions = [NEWEST, OLDEST, *(Keyset(datetime(year, 1, 1, tzinfo=UTC), uuid4()) for year in range(2000, 8800))]

    for backwards in (False, True):
        assert all(is_cursor(str(Cursor(backwards, position.packed))) for position in positions)


def test_page_is_revalidated_by_etag(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for path in ["/openapi.json", "/docs", *(f"/docs/{name}" for name in ASSETS)]:
        with subtests.test(path):
            response = client.get(path)
            again = client.get(path, headers={"If-None-Match": response.headers["ETag"]})

            assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-cache")
            assert (again.status_code, again.data) == (304, b"")


def test_unknown_asset_is_not_found(subtests: pytest.Subtests, client: FlaskClient) -> None:
    for name in ("index.html", "swagger-ui.js", "..%2Fapp.py", "start.js%00", "/"):
        with subtests.test(name):
            response = client.get(f"/docs/{name}")

            assert (response.status_code, response.json) == (404, ["not_found"])


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/docs", "/docs/"])
@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["directly", "behind a proxy that takes a prefix off"])
def test_browser_shows_every_operation_without_other_requests(
    service_url: str, document: Any, tmp_path: Path, prefix: str, path: str
) -> None:
    if CHROMIUM is None or PROGRAM is None:
        pytest.skip("needs Chromium and nginx")

    with serving(service_url, **BEHIND) as port, nginx(f"127.0.0.1:{port}", changed=PREFIXED) as front:
        url = f"{front.url}{prefix}{path}" if prefix else f"http://127.0.0.1:{port}{path}"
        command = [CHROMIUM, *DUMP_OPTIONS, "--enable-logging=stderr", f"--user-data-dir={tmp_path}", url]
        result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)

    operation_ids = re.findall(r'id="operations-(?!tag-)\w+?-(\w+)"', result.stdout)
    assert sorted(operation_ids) == sorted(operation["operationId"] for operation in operations(document).values())
    assert set(re.findall(r'data-path="([^"]+)"', result.stdout)) == document["paths"].keys()
    # The console has the page's errors and the browser's reports of policy violations.
    assert [line for line in result.stderr.splitlines() if "CONSOLE" in line] == []


def test_content_security_policy_allows_own_sources_only(client: FlaskClient) -> None:
    response = client.get("/docs")

    sources = re.findall(r"'[\w-]+'|data:|\S*://\S*|unsafe\S*", response.headers["Content-Security-Policy"])
    assert set(sources) == {"'none'", "'self'", "data:"}
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} < set(policy)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "//" not in response.text


def test_trailing_slash_redirects_to_the_page(client: FlaskClient) -> None:
    response = client.get("/docs/")

    assert (response.status_code, response.data, response.headers["Location"]) == (308, b"", "../docs")
    assert urljoin("/docs/", response.headers["Location"]) == "/docs"
    assert client.post("/docs/").status_code == 405
    # No other path redirects.
    assert client.get("/api/activities/home/").status_code == 404
