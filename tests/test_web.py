"""The page's files: what tests can tell without a browser."""

import re

import pytest
import yaml

from ops.command import ROOT
from services.validation import TTL

WEB = ROOT / "backend-flask" / "web"
TEXTS = {path.name: path.read_text() for path in WEB.iterdir()}
SCRIPTS = {name: text for name, text in TEXTS.items() if name.endswith(".js")}
# Texts become markup, or code, by these alone.
SINKS = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|eval\(|new Function|DOMParser")
# The one namespace that SVG needs.
SVG = "http://www.w3.org/2000/svg"


def test_each_error_code_has_words() -> None:
    document = yaml.safe_load((ROOT / "backend-flask" / "openapi.yaml").read_text())
    errors = SCRIPTS["strings.js"].partition("export const ERRORS = {")[2].partition("};")[0]

    assert re.findall(r"^  (\w+):", errors, re.MULTILINE) == document["components"]["schemas"]["Code"]["enum"]


def test_each_ttl_has_words() -> None:
    ttls = SCRIPTS["strings.js"].partition("ttls: {")[2].partition("}")[0]

    assert re.findall(r'"([\w-]+)":', ttls) == list(TTL)


def test_each_text_is_used(subtests: pytest.Subtests) -> None:
    others = "".join(text for name, text in SCRIPTS.items() if name != "strings.js")
    texts = SCRIPTS["strings.js"].partition("export const TEXT = {")[2].partition("\n};")[0]
    for name in re.findall(r"^  (\w+):", texts, re.MULTILINE):
        with subtests.test(name):
            assert re.search(rf"TEXT\.{name}\b", others)


def test_each_used_text_exists(subtests: pytest.Subtests) -> None:
    for name in sorted({name for text in SCRIPTS.values() for name in re.findall(r"TEXT\.(\w+)", text)}):
        with subtests.test(name):
            assert re.search(rf"^  {name}:", SCRIPTS["strings.js"], re.MULTILINE)


def test_no_text_becomes_markup(subtests: pytest.Subtests) -> None:
    for name, text in TEXTS.items():
        with subtests.test(name):
            assert SINKS.findall(text) == []
            assert re.findall(r"<script>|<style|\sstyle=|\son\w+=\"", text) == []


def test_page_names_no_other_host(subtests: pytest.Subtests) -> None:
    for name, text in TEXTS.items():
        with subtests.test(name):
            assert re.findall(r"https?://[\w.]+", text.replace(SVG, "")) == []
