"""Plain English. Markdown, docstrings and messages avoid listed words. Markdown avoids replaced terms."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.command import ROOT

MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOLDERS = ("backend-flask", "ops", "bench", "faults", "aws", "harness", "tests")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
SPEAKERS = [path for path in MODULES if path.parent in {ROOT / "ops", ROOT / "backend-flask" / "lib"}]
SPEAKS = {"CommandError", "ConfigError", "say", "step", "print", "warn_once", "exit"}

# A sentence begins a text, a paragraph, a heading, an item of a list or a cell of a table, or follows another one.
START = r"(?:\A|\n\s*\n|(?:^|\n)\s*(?:[-*]|\d+\.|#+)\s+|\|\s*|[.!?][\"')*]*\s+)\**"
SUBJECTS = re.compile(rf"{START}\b(whoever|whom|who|what|whether|nobody|somebody|it|one|there)\b", re.IGNORECASE)
WORDS = re.compile(r"\b(whoever|whomever|nobody|somebody|anybody|everybody|what is told|who asks)\b", re.IGNORECASE)
# Code, link targets, and the parts of documents that programs write.
NOT_PROSE = re.compile(
    r"^```.*?^```|`[^`\n]*`|\]\([^)]*\)|<!-- What follows is written.*?<!-- What precedes is written.*?-->",
    re.DOTALL | re.MULTILINE,
)
REPLACED = [cell.strip() for cell in re.findall(r"\|([^|\n]+)\|$", (ROOT / "docs" / "glossary.md").read_text(), re.M)]
TERMS = re.compile(
    rf"\b({'|'.join(term for cell in REPLACED[2:] for term in cell.split(', ') if term)})\b", re.IGNORECASE
)


def blanked(text: str) -> str:
    """Replace all that is not prose, line by line, so that each line keeps its number."""
    return NOT_PROSE.sub(lambda match: re.sub(r"[^\n]+", "X", match[0]), text)


def faults(path: Path, text: str, first_line: int, *patterns: re.Pattern[str]) -> list[str]:
    """Return each word in `text` that a pattern forbids, with its file and line."""
    prose = blanked(text)
    found = sorted({(match.start(1), match[1]) for pattern in patterns for match in pattern.finditer(prose)})
    lines = [first_line + prose.count("\n", 0, start) for start, _ in found]
    return [f"{path.relative_to(ROOT)}:{line}: {word}" for line, (_, word) in zip(lines, found, strict=True)]


def docstrings(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield each docstring with its first line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield text, node.body[0].lineno


def messages(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield each text that is raised or printed, with X for each value in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in SPEAKS:
            for text in node.args:
                parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                words = (str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts)
                yield "".join(words), text.lineno


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_markdown_is_plain_and_keeps_to_the_glossary(path: Path) -> None:
    terms = () if path.name == "glossary.md" else (TERMS,)

    assert faults(path, path.read_text(), 1, SUBJECTS, WORDS, *terms) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_plain(path: Path) -> None:
    found = docstrings(ast.parse(path.read_text()))

    assert [fault for text, line in found for fault in faults(path, text, line, SUBJECTS, WORDS)] == []


@pytest.mark.parametrize("path", SPEAKERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_are_plain(path: Path) -> None:
    found = messages(ast.parse(path.read_text()))

    assert [fault for text, line in found for fault in faults(path, text, line, SUBJECTS, WORDS)] == []
