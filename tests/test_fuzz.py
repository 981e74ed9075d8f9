"""Requests that nobody thought of, made from the document, and the answers held against it.

`bin/test -k fuzz -rP --fuzz 600` sends more than 20,000 of them, and tells what came back.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ops.command import ROOT
from ops.seed import load_seed
from tests import tokens
from tests.running import CLEAN
from tests.test_serve import serving

# The document's examples are of the seed's people; he is one of them.
ANDREW = "5eed0000-0000-4000-9000-000000000001"
PROBLEM = "application/problem+json"


@pytest.fixture
def port(service_url: str, jwks_url: str, owner: psycopg.Connection) -> Iterator[str]:
    """The port of a service with the seed."""
    load_seed(owner)
    with serving(service_url, AWS_COGNITO_JWKS_URL=jwks_url) as port:
        yield port


def fuzz(port: str, headers: dict[str, str], examples: int, folder: Path) -> tuple[str, dict[str, int]]:
    """Run Schemathesis with all its checks. What it says, and how many answers there were of each status."""
    told = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    done = subprocess.run(
        [
            *(ROOT / ".venv/bin/schemathesis", "run", f"http://127.0.0.1:{port}/openapi.json", "--no-color"),
            *("--checks", "all", "--continue-on-failure", "--generation-deterministic"),
            *("--max-examples", str(examples), *told),
        ],
        # It leaves its notes where it runs.
        cwd=folder,
        env=CLEAN | {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.fuzz_hooks"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr)
    said, _, counted = done.stdout.rstrip("\n").rpartition("\n")
    return said, json.loads(counted)


@pytest.mark.parametrize("sub", [ANDREW, None], ids=["with a token", "without"])
def test_the_service_keeps_to_its_document(
    port: str, sub: str | None, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    headers = tokens.bearer(sub) if sub else {"Accept": PROBLEM}

    said, answers = fuzz(port, headers, pytestconfig.getoption("--fuzz"), tmp_path)

    print(said, f"{sum(answers.values())} answers by status: {answers}", sep="\n")
    assert answers["200"] > 100
    assert max(answers) < "500"
