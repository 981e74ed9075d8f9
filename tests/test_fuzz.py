"""Generated requests: the responses must conform to the OpenAPI document, and almost valid bytes must do no harm.

`bin/test -k fuzz -rP --fuzz 100` sends more than 100,000 requests and prints the count of each status.
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
from tests.cognito import DELETE_USER, fake_cognito
from tests.raw_requests import raw_request, send
from tests.service import get, serving

pytestmark = pytest.mark.slow

# The document's examples use the users of the seed, and andrewbrown is one of them.
ANDREW = "5eed0000-0000-4000-9000-000000000001"
PROBLEM = "application/problem+json"
# More requests than a user's limit per minute.
LIMITED_EXAMPLES = 20


@pytest.fixture
def pool_settings(jwks_url: str) -> Iterator[dict[str, str]]:
    """Return the settings of a user pool that knows andrewbrown, and refuses to delete this user of all requests."""
    with fake_cognito() as cognito:
        cognito.people[ANDREW] = {"email": "andrew@example.com"}
        cognito.faults[DELETE_USER] = (400, b'{"__type":"NotAuthorizedException"}')
        yield {"AWS_COGNITO_JWKS_URL": jwks_url, "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": cognito.url}


@pytest.fixture
def port(service_url: str, pool_settings: dict[str, str], owner: psycopg.Connection) -> Iterator[str]:
    """Run a service with the seed, and yield its port."""
    load_seed(owner)
    with serving(service_url, **pool_settings, **UNLIMITED) as port:
        yield port


def fuzz(port: str, headers: dict[str, str], examples: int, folder: Path) -> tuple[str, dict[str, int]]:
    """Run Schemathesis with all its checks. Return its output and the number of responses by status."""
    url = f"http://127.0.0.1:{port}"
    options = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    result = subprocess.run(
        [
            *(ROOT / ".venv/bin/schemathesis", "run", f"{url}/openapi.json", "--no-color"),
            # Schemathesis does not resolve the document's own server, `.`, against the document's address.
            *("--url", url),
            *("--checks", "all", "--continue-on-failure", "--generation-deterministic"),
            *("--max-examples", str(examples), *options),
        ],
        # Schemathesis writes its files into the current folder.
        cwd=folder,
        env=CLEAN | {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.fuzz_hooks"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        pytest.fail(result.stdout + result.stderr)
    output, _, counts = result.stdout.rstrip("\n").rpartition("\n")
    return output, json.loads(counts)


@pytest.fixture
def limited(service_url: str, pool_settings: dict[str, str], owner: psycopg.Connection) -> Iterator[str]:
    """Run a service with the seed and the default rate limits, and yield its port."""
    load_seed(owner)
    with serving(service_url, **pool_settings) as port:
        yield port


def test_responses_conform_to_the_document_under_rate_limits(
    limited: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    examples = min(pytestconfig.getoption("--fuzz"), LIMITED_EXAMPLES)

    _, answers = fuzz(limited, tokens.bearer(ANDREW), examples, tmp_path)

    print(f"{sum(answers.values())} answers by status with the limits: {answers}")
    assert max(answers) < "500"


@pytest.mark.parametrize("sub", [ANDREW, None], ids=["with a token", "without"])
def test_responses_conform_to_the_document(
    port: str, sub: str | None, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    headers = tokens.bearer(sub) if sub else {"Accept": PROBLEM}

    output, answers = fuzz(port, headers, pytestconfig.getoption("--fuzz"), tmp_path)

    print(output, f"{sum(answers.values())} answers by status: {answers}", sep="\n")
    assert answers["200"] > 100
    assert max(answers) < "500"


# Raw requests per example that Schemathesis generates for an operation.
RAW_REQUESTS = 1000
# Longer than the idle timeout, after which the service gives up on missing bytes.
CLOSED_SECONDS = 30


def test_almost_valid_bytes_do_no_harm(port: str, owner: psycopg.Connection, pytestconfig: pytest.Config) -> None:
    count = RAW_REQUESTS * pytestconfig.getoption("--fuzz")
    random, answers, hung = Random(4567), Counter[int](), []
    # The lock keeps the purge from the seed's expired activities.
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
