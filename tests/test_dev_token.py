"""Access tokens for development: bin/dev creates its own keys, and bin/dev-token signs tokens with them."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from harness.ports import free_port
from ops import dev_keys
from ops.dev_token import create_access_token
from tests import tokens
from tests.cognito import fake_cognito
from tests.dev_tokens import ANDREW, NOTIFICATIONS, POOLS, ask
from tests.in_process import fails, script, succeeds
from tests.processes import running
from tests.settings import POOL

pytestmark = pytest.mark.usefixtures("at_home")

STRANGER = "sub-stranger"
# The rows of all other users.
OTHERS = """
    SELECT users::text, activities::text
    FROM users LEFT JOIN activities ON activities.user_uuid = users.uuid
    WHERE users.handle <> 'andrewbrown'
    ORDER BY 1, 2
"""


class Dev(NamedTuple):
    """A running bin/dev."""

    port: str
    home: Path


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Run bin/dev in a path with a space, for a developer with another AWS region and an own Cognito endpoint."""
    instance = Dev(free_port(), tmp_path_factory.mktemp("dev") / "a home")
    settings = {"PORT": instance.port, "CRUDDUR_DATA_DIR": str(instance.home), "AWS_DEFAULT_REGION": "us-east-1"}
    with (
        fake_cognito() as cognito,
        running("dev", AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER=cognito.url, **settings) as process,
    ):
        cognito.people[STRANGER] = {"preferred_username": "stranger"}
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Cruddur is at ")
        assert process.stdout.readline().endswith(" is the home feed\n")
        assert process.stdout.readline() == "bin/dev-token andrewbrown prints a token for requests to the API\n"
        yield instance
        assert not cognito.asked


@pytest.mark.slow
def test_dev_token_authenticates(dev: Dev) -> None:
    others = succeeds("db-connect", "-XAtc", OTHERS, CRUDDUR_DATA_DIR=str(dev.home))
    body = {"message": "signed in @andrewbrown", "ttl": "1-day"}

    # The token is for the development pool in every AWS region.
    output = succeeds("dev-token", "andrewbrown", CRUDDUR_DATA_DIR=str(dev.home), AWS_DEFAULT_REGION="us-east-1")

    access_token = output.removesuffix("\n")
    status, notifications = ask(dev.port, NOTIFICATIONS, access_token)
    assert (status, [each["handle"] for each in notifications]) == (200, ["bayko", "LinYue"])
    status, activity = ask(dev.port, "/api/activities", access_token, body)
    assert (status, activity["handle"], activity["message"]) == (200, "andrewbrown", "signed in @andrewbrown")
    assert succeeds("db-connect", "-XAtc", OTHERS, CRUDDUR_DATA_DIR=str(dev.home)) == others


@pytest.mark.slow
def test_request_without_a_token_is_rejected(dev: Dev) -> None:
    assert ask(dev.port, NOTIFICATIONS) == (401, ["generic_401"])
    assert ask(dev.port, "/api/activities", body={"message": "x", "ttl": "1-day"}) == (401, ["generic_401"])
    assert ask(dev.port, "/api/activities/home")[0] == 200


@pytest.mark.slow
def test_token_signed_by_another_homes_keys_is_rejected(dev: Dev, home: Path) -> None:
    stranger = create_access_token(dev_keys.load_or_create(), ANDREW)

    assert (home / "keys").exists()
    assert ask(dev.port, NOTIFICATIONS, stranger) == (401, ["generic_401"])


@pytest.mark.slow
def test_unknown_user_of_the_development_pool_causes_no_cognito_request(
    dev: Dev, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUDDUR_DATA_DIR", str(dev.home))

    assert ask(dev.port, NOTIFICATIONS, create_access_token(dev_keys.load_or_create(), STRANGER)) == (
        503,
        ["service_unavailable"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("handle", ["linyue", "LinYue", "LINYUE"])
def test_handle_is_case_insensitive_and_claims_match_cognitos(dev: Dev, handle: str) -> None:
    output = succeeds("dev-token", handle, CRUDDUR_DATA_DIR=str(dev.home)).removesuffix("\n")

    public = json.loads((dev.home / "keys" / "eu-west-1_development.json").read_text())
    decoded = jwt.decode(output, KeySet.import_key_set(public), algorithms=["RS256"])
    claims = decoded.claims
    assert decoded.header["kid"] == public["keys"][0]["kid"]
    assert claims.pop("exp") - claims.pop("iat") == 24 * 60 * 60
    assert claims.pop("jti")
    assert abs(claims.pop("auth_time") - time.time()) < 60
    assert claims == {
        "sub": "5eed0000-0000-4000-9000-000000000005",
        "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_development",
        "client_id": "development",
        "token_use": "access",
        "scope": "aws.cognito.signin.user.admin",
        "username": "5eed0000-0000-4000-9000-000000000005",
    }


@pytest.mark.slow
@pytest.mark.parametrize("handle", ["nobody", "andrew%", "", "caffè"])
def test_unknown_handle_is_one_error_line(dev: Dev, handle: str) -> None:
    line = fails("dev-token", handle, CRUDDUR_DATA_DIR=str(dev.home))

    assert line == f"cruddur: no user has the handle {handle}: bin/db-seed adds andrewbrown and a few others"


def test_missing_handle_shows_usage() -> None:
    result = script("dev-token")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: bin/dev-token [-h] HANDLE\n")


def test_dev_token_reads_the_database_of_connection_url(new_url: str, home: Path) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    settings = {"CONNECTION_URL": new_url, "CRUDDUR_DATA_DIR": str(home)}

    assert succeeds("dev-token", "kofi", **settings).count(".") == 2
    # The command creates missing keys and starts no Postgres.
    assert [path.name for path in home.iterdir()] == ["keys"]


@pytest.mark.parametrize("name", POOLS)
def test_configured_user_pool_refuses_dev_tokens(home: Path, name: str) -> None:
    line = fails("dev-token", "andrewbrown", CRUDDUR_DATA_DIR=str(home), **{name: POOLS[name]})

    assert line.startswith("cruddur: a Cognito pool is configured")
    assert line.endswith(f"unset {name} to use the development keys")
    assert not home.exists()


def test_every_setting_of_the_pool_is_named(home: Path) -> None:
    line = fails("dev-token", "andrewbrown", CRUDDUR_DATA_DIR=str(home), **POOLS)

    assert f"unset {', '.join(POOLS)} to" in line


def test_settings_of_the_development_pool_are_accepted(home: Path, new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)

    result = script("dev-token", "kofi", CONNECTION_URL=new_url, CRUDDUR_DATA_DIR=str(home), **dev_keys.settings())

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", POOLS)
def test_partly_configured_pool_names_missing_settings(home: Path, name: str) -> None:
    result = script("dev", CRUDDUR_DATA_DIR=str(home), **{name: POOLS[name]})

    assert result.returncode == 1
    assert [line.split(" is ")[0] for line in result.stderr.splitlines()] == [
        f"cruddur: {other}" for other in POOL if other != name
    ]
    assert not home.exists()


@pytest.mark.slow
def test_configured_pool_creates_no_keys_and_is_the_only_issuer(home: Path, new_url: str, pool: dict[str, str]) -> None:
    port = free_port()
    with running("dev", PORT=port, CRUDDUR_DATA_DIR=str(home), CONNECTION_URL=new_url, **pool) as dev:
        assert dev.stdout is not None
        for _ in range(2):
            dev.stdout.readline()
        assert not home.exists()
        assert ask(port, NOTIFICATIONS, create_access_token(dev_keys.load_or_create(), ANDREW)) == (
            401,
            ["generic_401"],
        )
        assert ask(port, NOTIFICATIONS, tokens.token(ANDREW))[0] == 200
        dev.send_signal(signal.SIGTERM)
        # The output does not mention bin/dev-token either.
        assert dev.communicate(timeout=30)[0] == ""
