"""Confirmation: commands that destroy rows ask for the database's name."""

from io import StringIO
from types import SimpleNamespace
from typing import cast

import psycopg
import pytest

from harness.postgres import rows
from lib.command_errors import CommandError
from ops.command import Database, is_local
from tests.conftest import NEW
from tests.in_process import fails, script, succeeds
from tests.processes import NOWHERE


@pytest.mark.parametrize("name", ["drop", "seed", "setup"])
@pytest.mark.parametrize("answer", ["", "tests\n", f"{NEW.upper()}\n"], ids=["nothing", "a part", "capitals"])
def test_production_is_untouched_without_its_name(new_url: str, name: str, answer: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    rows(new_url, "DELETE FROM users WHERE handle = 'bayko' RETURNING uuid")

    line = fails(f"db-{name}", "prod", answer=answer, PROD_CONNECTION_URL=new_url)

    assert f"nothing was done: the name typed is not {NEW}" in line
    assert rows(new_url, "SELECT count(*) FROM users") == [(4,)]


def test_typed_name_confirms_a_new_production_database(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)
    rows(new_url, "DELETE FROM users WHERE handle = 'bayko' RETURNING uuid")

    result = script("db-setup", "prod", answer=f"{NEW}\n", PROD_CONNECTION_URL=new_url)
    assert result.returncode == 0
    assert result.stderr.startswith(f"This drops the database {NEW} on ")
    assert rows(new_url, "SELECT count(*) FROM users") == [(5,)]

    succeeds("db-seed", "prod", "--confirm", NEW, PROD_CONNECTION_URL=new_url)
    succeeds("db-purge", "prod", PROD_CONNECTION_URL=new_url)


def test_needless_confirmation_must_still_match(new_url: str) -> None:
    succeeds("db-setup", CONNECTION_URL=new_url)

    assert "nothing was done" in fails("db-drop", "--confirm", "another", CONNECTION_URL=new_url)
    assert rows(new_url, "SELECT count(*) FROM users") == [(5,)]


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.9.9.9", "::1"])
def test_socket_and_loopback_are_local(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize("address", ["10.0.0.5", "203.0.113.9", "2001:db8::1", "::"])
def test_other_address_is_remote(address: str) -> None:
    assert not is_local(address)


def test_remote_database_needs_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = SimpleNamespace(info=SimpleNamespace(host="db.example", hostaddr="203.0.113.9"))
    monkeypatch.setattr("sys.stdin", StringIO("cruddur\nother\n"))

    Database("CONNECTION_URL", NOWHERE).confirm("drops", cast(psycopg.Connection, remote))
    with pytest.raises(CommandError, match="nothing was done"):
        Database("CONNECTION_URL", NOWHERE).confirm("drops", cast(psycopg.Connection, remote))
