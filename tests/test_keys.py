"""The key pair that development signs its tokens with: one that fits, kept by its owner alone."""

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


def test_the_private_key_is_its_owners_alone(home: Path) -> None:
    dev_keys.load_or_create()

    assert dev_keys.private_key_path().stat().st_mode & 0o777 == 0o600
    assert (home / "keys").stat().st_mode & 0o777 == 0o700
    (public,) = json.loads(dev_keys.jwks_path().read_text())["keys"]
    assert public.keys() == {"kty", "n", "e", "use", "alg", "kid"}
    assert (public["use"], public["alg"], dev_keys.jwks_path().name) == ("sig", "RS256", "eu-west-1_development.json")


def fit_together() -> bool:
    """Whether what one half signs holds by the other."""
    public = KeySet.import_key_set(json.loads(dev_keys.jwks_path().read_text()))
    private = RSAKey.import_key(json.loads(dev_keys.private_key_path().read_text()))
    return bool(jwt.decode(create_access_token(private, ANDREW), public, algorithms=["RS256"]).claims["sub"] == ANDREW)


def test_several_at_once_make_one_pair_that_fits_and_stays(home: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: dev_keys.load_or_create().as_dict(private=True), range(4)))

    assert made == [made[0]] * 4
    assert fit_together()
    assert {path.name for path in (home / "keys").iterdir()} == {"making", "private.json", dev_keys.jwks_path().name}
    before = dev_keys.private_key_path().read_text(), dev_keys.jwks_path().read_text()
    printed = succeeds("python", "-m", "ops.dev_keys", CRUDDUR_DATA_DIR=str(home))
    assert printed == "".join(f"{name}={value}\n" for name, value in dev_keys.settings().items())
    assert (dev_keys.private_key_path().read_text(), dev_keys.jwks_path().read_text()) == before


def test_the_old_name_of_the_data_folder_works_and_says_once_that_it_is_deprecated(home: Path, tmp_path: Path) -> None:
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
def test_a_half_that_has_lost_its_other_is_replaced(home: Path, lost: str) -> None:
    dev_keys.load_or_create()
    (home / "keys" / lost).unlink()

    dev_keys.load_or_create()

    assert fit_together()


def test_an_interruption_leaves_no_halves_that_do_not_fit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert fit_together()


def test_where_keys_can_not_be_kept_it_is_told(home: Path) -> None:
    home.touch()

    line = fails("python", "-m", "ops.dev_keys", CRUDDUR_DATA_DIR=str(home))

    assert line.startswith(f"cruddur: the development keys can't be kept in {home}/keys (Not a directory): ")


@pytest.mark.parametrize("name", POOLS)
def test_where_a_pool_is_configured_there_are_no_keys(home: Path, name: str) -> None:
    assert succeeds("python", "-m", "ops.dev_keys", CRUDDUR_DATA_DIR=str(home), **{name: POOLS[name]}) == ""
    assert not home.exists()
