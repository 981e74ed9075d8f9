"""The development key pair: matching halves, readable by their owner only."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from ops import dev_keys
from ops.dev_token import create_access_token
from tests.dev_tokens import ANDREW, POOLS
from tests.processes import fails, script, succeeds

DEPRECATED = (
    "cruddur: CRUDDUR_HOME is deprecated, and the next release ignores it: unset it, and set CRUDDUR_DATA_DIR instead\n"
)
pytestmark = pytest.mark.usefixtures("at_home")


def test_private_key_is_readable_by_its_owner_only(home: Path) -> None:
    dev_keys.load_or_create()

    assert dev_keys.private_key_path().stat().st_mode & 0o777 == 0o600
    assert (home / "keys").stat().st_mode & 0o777 == 0o700
    (public,) = json.loads(dev_keys.jwks_path().read_text())["keys"]
    assert public.keys() == {"kty", "n", "e", "use", "alg", "kid"}
    assert (public["use"], public["alg"], dev_keys.jwks_path().name) == ("sig", "RS256", "eu-west-1_development.json")


def is_matching_pair() -> bool:
    """Return whether the public half verifies a token signed by the private half."""
    public = KeySet.import_key_set(json.loads(dev_keys.jwks_path().read_text()))
    private = RSAKey.import_key(json.loads(dev_keys.private_key_path().read_text()))
    return bool(jwt.decode(create_access_token(private, ANDREW), public, algorithms=["RS256"]).claims["sub"] == ANDREW)


@pytest.mark.slow
def test_concurrent_calls_create_one_matching_pair(home: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        pairs = list(threads.map(lambda _: dev_keys.load_or_create().as_dict(private=True), range(4)))

    assert pairs == [pairs[0]] * 4
    assert is_matching_pair()
    assert {path.name for path in (home / "keys").iterdir()} == {"making", "private.json", dev_keys.jwks_path().name}
    before = dev_keys.private_key_path().read_text(), dev_keys.jwks_path().read_text()
    output = succeeds("python", "-m", "ops.dev_keys", CRUDDUR_DATA_DIR=str(home))
    assert output == "".join(f"{name}={value}\n" for name, value in dev_keys.settings().items())
    assert (dev_keys.private_key_path().read_text(), dev_keys.jwks_path().read_text()) == before


@pytest.mark.slow
def test_old_name_of_the_data_folder_works_with_one_deprecation_line(home: Path, tmp_path: Path) -> None:
    done = script("python", "-m", "ops.dev_keys", CRUDDUR_HOME=str(home))

    assert done.returncode == 0
    assert done.stderr == DEPRECATED
    assert f"AWS_COGNITO_JWKS_URL={dev_keys.jwks_path().as_uri()}\n" in done.stdout
    assert dev_keys.jwks_path().is_relative_to(home)

    other = tmp_path / "other"
    done = script("python", "-m", "ops.dev_keys", CRUDDUR_DATA_DIR=str(home), CRUDDUR_HOME=str(other))
    assert done.stderr == DEPRECATED
    assert f"AWS_COGNITO_JWKS_URL={dev_keys.jwks_path().as_uri()}\n" in done.stdout
    assert not other.exists()


@pytest.mark.parametrize("lost", ["private.json", "eu-west-1_development.json"])
def test_missing_half_is_replaced(home: Path, lost: str) -> None:
    dev_keys.load_or_create()
    (home / "keys" / lost).unlink()

    dev_keys.load_or_create()

    assert is_matching_pair()


def test_interrupted_creation_leaves_no_mismatched_halves(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dev_keys.load_or_create()
    dev_keys.private_key_path().unlink()
    write = dev_keys.write_private

    def write_and_end(file: Path, content: Mapping[str, Any]) -> None:
        write(file, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        interrupted.setattr(dev_keys, "write_private", write_and_end)
        dev_keys.load_or_create()
    assert [path.name for path in (home / "keys").glob("*.json")] == ["private.json"]

    dev_keys.load_or_create()
    assert is_matching_pair()


@pytest.mark.slow
def test_unusable_key_folder_is_reported(home: Path) -> None:
    home.touch()

    line = fails("python", "-m", "ops.dev_keys", CRUDDUR_DATA_DIR=str(home))

    assert line.startswith(f"cruddur: the development keys can't be kept in {home}/keys (Not a directory): ")


@pytest.mark.slow
@pytest.mark.parametrize("name", POOLS)
def test_configured_user_pool_creates_no_keys(home: Path, name: str) -> None:
    assert succeeds("python", "-m", "ops.dev_keys", CRUDDUR_DATA_DIR=str(home), **{name: POOLS[name]}) == ""
    assert not home.exists()
