"""Errors of the database commands: one line with the missing part and the remedy."""

import psycopg
import pytest

from harness.postgres import rows
from lib.checks import SCHEMA
from ops.command import Database
from ops.create_database import create
from ops.migrate import migrate
from tests.conftest import NEW
from tests.factories import Make
from tests.in_process import fails, script, succeeds
from tests.journal import SUBS
from tests.processes import NOWHERE

COMMANDS = [
    "create",
    "drop",
    "schema-load",
    "seed",
    "migrate",
    "setup",
    "purge",
    "plans",
    "reports",
    "sessions",
    "connect",
    "backup",
    "lambda-role",
]


@pytest.mark.parametrize("name", COMMANDS)
def test_unreachable_server_is_one_error_line(name: str) -> None:
    result = script(f"db-{name}", CONNECTION_URL=NOWHERE)

    assert result.returncode != 0
    assert "port 1 failed: Connection refused" in result.stderr
    assert "s3cret" not in result.stdout + result.stderr
    if name not in {"connect", "sessions"}:
        (line,) = result.stderr.splitlines()
        assert line.startswith("cruddur: CONNECTION_URL: ")
        assert "bin/db-create" in line


@pytest.mark.parametrize(
    "name", [name for name in COMMANDS if name not in {"create", "drop", "setup", "connect", "sessions"}]
)
def test_missing_database_is_one_error_line(new_url: str, name: str) -> None:
    line = fails(f"db-{name}", CONNECTION_URL=new_url)

    assert f'database "{NEW}" does not exist' in line
    assert "bin/db-create" in line


@pytest.mark.parametrize("name", ["seed", "purge", "plans", "reports", "backup", "lambda-role"])
def test_missing_schema_is_one_error_line(new_url: str, name: str) -> None:
    succeeds("db-create", CONNECTION_URL=new_url)

    assert fails(f"db-{name}", CONNECTION_URL=new_url) == "cruddur: the database has no schema: run bin/db-schema-load"


@pytest.mark.parametrize(
    "words", [["deletions"], ["delete-user", "andrewbrown"], ["claim-user", "andrewbrown", SUBS[0]]]
)
def test_older_schema_is_one_error_line(empty_url: str, words: list[str]) -> None:
    database = Database("CONNECTION_URL", empty_url)
    create(database)
    migrate(database, "0016")
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO users (handle, display_name, cognito_user_id) VALUES ('andrewbrown', 'A', 'sub')"
        )

    line = fails(f"db-{words[0]}", *words[1:], CONNECTION_URL=empty_url)

    assert line == f"cruddur: the schema is older than {SCHEMA}: run bin/db-migrate"


@pytest.mark.parametrize("name", [*COMMANDS, "restore"])
@pytest.mark.parametrize(
    "words", [["production"], ["production", "a file", "a name"], ["prod", "production", "a file", "a name"]]
)
def test_mistyped_prod_is_refused_with_usage(name: str, words: list[str]) -> None:
    result = script(f"db-{name}", *words, CONNECTION_URL=NOWHERE, PROD_CONNECTION_URL=NOWHERE)

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"usage: bin/db-{name} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_prod_selects_the_production_url(name: str) -> None:
    line = fails(f"db-{name}", "prod", CONNECTION_URL=NOWHERE)

    assert line.startswith("cruddur: PROD_CONNECTION_URL is not set; it is ")


@pytest.mark.parametrize(
    ("malformed", "reason"),
    [
        ("nonsense", "it is not in libpq's syntax"),
        ("postgresql://localhost", "it names no database"),
        ("postgresql://h/d?x=s3cret", "it is not in libpq's syntax"),
        ("postgresql://u:1/s3cret@h/d", "a user or a password in it is not percent-encoded"),
        ("postgresql://u:s3cret@h/cruddur\r", "it ends in a control character (U+000D)"),
    ],
)
@pytest.mark.parametrize(("target", "setting"), [((), "CONNECTION_URL"), (("prod",), "PROD_CONNECTION_URL")])
def test_malformed_url_is_one_error_line(target: tuple[str, ...], setting: str, malformed: str, reason: str) -> None:
    line = fails("db-create", *target, **{setting: malformed})

    assert line.startswith(f"cruddur: {setting} is malformed: {reason}")
    assert line.endswith(f"such as {setting}=postgresql://postgres:password@localhost:5432/cruddur")
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("postgresql://somebody:s3cret@h/d", "the user in SERVICE_CONNECTION_URL is not cruddur_service"),
        (
            "postgresql://cruddur_service:s3%zzcret@h/d",
            "SERVICE_CONNECTION_URL is malformed: a user or a password in it is not percent-encoded",
        ),
    ],
)
def test_invalid_service_url_is_reported_before_any_change(new_url: str, service: str, said: str) -> None:
    line = fails("db-create", CONNECTION_URL=new_url, SERVICE_CONNECTION_URL=service)

    assert line.startswith(f"cruddur: {said}")
    assert "s3" not in line
    with pytest.raises(psycopg.OperationalError):
        rows(new_url, "SELECT 1")


def test_another_schema_revision_is_left_alone(owner_url: str, make: Make) -> None:
    make.user("bystander")
    rows(owner_url, "UPDATE alembic_version SET version_num = '0000' RETURNING 1")

    assert "bin/db-migrate migrates an older one" in fails("db-schema-load", CONNECTION_URL=owner_url)
    assert rows(owner_url, "SELECT handle FROM users") == [("bystander",)]


@pytest.mark.slow
def test_failed_migration_is_one_error_line(owner_url: str, make: Make) -> None:
    with make.owner.transaction():
        make.owner.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        assert fails("db-migrate", CONNECTION_URL=owner_url).startswith("cruddur: the migration stopped: canceling")

    rows(owner_url, "UPDATE alembic_version SET version_num = '9999' RETURNING 1")
    assert "is this version older than the database's schema?" in fails("db-migrate", CONNECTION_URL=owner_url)
