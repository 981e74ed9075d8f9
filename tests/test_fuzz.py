"""Requests that nobody thought of, made from the document, and the answers held against it.

`bin/test -k fuzz -rP --fuzz 100` sends more than 100,000 of them, and tells what came back.
"""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psycopg
import pytest

from harness.processes import CLEAN, UNLIMITED
from lib.purge import LOCK
from ops.command import ROOT
from ops.seed import load_seed
from tests import tokens
from tests.raw_requests import raw_request, send
from tests.service import get, serving

pytestmark = pytest.mark.slow

# The document's examples are of the seed's people; he is one of them.
ANDREW = "5eed0000-0000-4000-9000-000000000001"
PROBLEM = "application/problem+json"
# More requests than a minute has for a user.
LIMITED_EXAMPLES = 20


@pytest.fixture
def port(service_url: str, jwks_url: str, owner: psycopg.Connection) -> Iterator[str]:
    """The port of a service with the seed."""
    load_seed(owner)
    with serving(service_url, AWS_COGNITO_JWKS_URL=jwks_url, **UNLIMITED) as port:
        yield port


def fuzz(port: str, headers: dict[str, str], examples: int, folder: Path) -> tuple[str, dict[str, int]]:
    """Run Schemathesis with all its checks. What it says, and how many answers there were of each status."""
    url = f"http://127.0.0.1:{port}"
    told = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    done = subprocess.run(
        [
            *(ROOT / ".venv/bin/schemathesis", "run", f"{url}/openapi.json", "--no-color"),
            # Schemathesis does not resolve the document's own server, `.`, against the document's address.
            *("--url", url),
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


@pytest.fixture
def limited(service_url: str, jwks_url: str, owner: psycopg.Connection) -> Iterator[str]:
    """The port of a service with the seed and the limits that it has unless told."""
    load_seed(owner)
    with serving(service_url, AWS_COGNITO_JWKS_URL=jwks_url) as port:
        yield port


def test_with_its_limits_the_service_keeps_to_its_document_too(
    limited: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    examples = min(pytestconfig.getoption("--fuzz"), LIMITED_EXAMPLES)

    _, answers = fuzz(limited, tokens.bearer(ANDREW), examples, tmp_path)

    print(f"{sum(answers.values())} answers by status with the limits: {answers}")
    assert max(answers) < "500"


@pytest.mark.parametrize("sub", [ANDREW, None], ids=["with a token", "without"])
def test_the_service_keeps_to_its_document(
    port: str, sub: str | None, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    headers = tokens.bearer(sub) if sub else {"Accept": PROBLEM}

    said, answers = fuzz(port, headers, pytestconfig.getoption("--fuzz"), tmp_path)

    print(said, f"{sum(answers.values())} answers by status: {answers}", sep="\n")
    assert answers["200"] > 100
    assert max(answers) < "500"


# For each example that Schemathesis makes up for an operation.
RAW_REQUESTS = 1000
# More than the idle timeout, after which whatever the service waits for has not come.
CLOSED_SECONDS = 30


def test_bytes_that_are_almost_a_request_do_no_harm(
    port: str, owner: psycopg.Connection, pytestconfig: pytest.Config
) -> None:
    count = RAW_REQUESTS * pytestconfig.getoption("--fuzz")
    random, answers, hung = Random(4567), Counter[int](), []
    # What the seed has of expired activities stays.
    owner.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    before = owner.execute("SELECT activities FROM activities ORDER BY uuid").fetchall()

    for _ in range(count):
        sent = raw_request(random)
        reply = send(port, sent, CLOSED_SECONDS)
        answers.update(reply.statuses)
        if not reply.is_closed:
            hung.append(sent)

    print(f"{count} raw requests, answers by status: {dict(sorted(answers.items()))}")
    assert hung == []
    assert {200, 400, 404, 405, 431} <= set(answers)
    assert max(answers) < 500
    assert owner.execute("SELECT activities FROM activities ORDER BY uuid").fetchall() == before
    assert get(port, "/livez")[0] == 200
