"""The Lambda's role: the privileges that bin/db-lambda-role grants, and all others refused."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.postgres import rows
from ops import embedded
from ops.command import Database
from ops.create_database import ROLE as SERVICE
from ops.create_database import create
from ops.lambda_role import ROLE, lambda_role
from tests.conftest import THROWAWAY
from tests.factories import User
from tests.in_process import fails, succeeds

PASSWORD = "cruddur"
MAKE = (
    "INSERT INTO users (handle, display_name, email, cognito_user_id) VALUES ('new', 'New', 'new@example.com', 'sub')"
)


@pytest.fixture
def role_url(owner_url: str) -> str:
    """Create the role in a database prepared by bin/db-create, and return its URL."""
    url = make_conninfo(owner_url, user=ROLE, password=PASSWORD)
    create(Database("CONNECTION_URL", owner_url))
    lambda_role(Database("CONNECTION_URL", owner_url), url=url)
    return url


@pytest.fixture
def role(role_url: str) -> Iterator[psycopg.Connection]:
    """Connect as the role."""
    with psycopg.connect(role_url, autocommit=True) as connection:
        yield connection


def test_role_inserts_users_and_reads_their_subs(role: psycopg.Connection, bystander: User) -> None:
    role.execute(MAKE.encode())

    subs = {sub for (sub,) in role.execute("SELECT cognito_user_id FROM users").fetchall()}
    assert {"sub", bystander.cognito_user_id} <= subs


FORBIDDEN = [
    *(f"SELECT {column} FROM users" for column in ("*", "uuid", "email", "handle", "display_name", "bio", "ctid")),
    *("SELECT count(email) FROM users", f"{MAKE} RETURNING uuid", f"{MAKE} RETURNING email"),
    *(f"UPDATE users SET {column} = 'x'" for column in ("email", "handle", "display_name", "cognito_user_id")),
    f"{MAKE} ON CONFLICT (cognito_user_id) DO UPDATE SET email = EXCLUDED.email",
    *("DELETE FROM users", "DELETE FROM users WHERE cognito_user_id = 'sub'", "TRUNCATE users"),
    "SELECT FROM users FOR UPDATE",
    "INSERT INTO users (handle, display_name, cognito_user_id, bio) VALUES ('new', 'New', 'sub', 'bio')",
    "INSERT INTO users (uuid, handle, display_name, cognito_user_id) VALUES (DEFAULT, 'n', 'N', 's')",
    *(f"SELECT FROM {table}" for table in ("activities", "live_activities", "messages", "message_groups")),
    *(f"SELECT FROM {table}" for table in ("idempotency_keys", "alembic_version", "pg_authid")),
    "INSERT INTO activities (user_uuid, message) VALUES (gen_random_uuid(), 'hello')",
    *("CREATE TABLE mine ()", "CREATE SCHEMA mine", "CREATE ROLE another", "CREATE DATABASE another"),
    *(f"SET ROLE {SERVICE}", "SET ROLE postgres", f"ALTER ROLE {ROLE} SUPERUSER"),
    *("COPY users TO STDOUT", "COPY users (cognito_user_id) TO '/tmp/stolen'"),
    *("ALTER TABLE users ADD COLUMN n integer", "DROP TABLE users", "CREATE TEMPORARY TABLE mine ()"),
]


@pytest.mark.usefixtures("bystander")
def test_role_has_no_other_privilege(subtests: pytest.Subtests, role: psycopg.Connection) -> None:
    for statement in FORBIDDEN:
        refused = pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue))
        with subtests.test(statement), refused:
            role.execute(statement.encode())


def test_surplus_privileges_are_revoked(owner: psycopg.Connection, owner_url: str, role: psycopg.Connection) -> None:
    owner.execute(f"GRANT ALL ON users, activities TO {ROLE}".encode())
    owner.execute(f"GRANT UPDATE (email) ON users TO {ROLE}".encode())
    owner.execute(f"GRANT CREATE ON SCHEMA public TO {ROLE}".encode())

    lambda_role(Database("CONNECTION_URL", owner_url))

    for statement in (
        "SELECT email FROM users",
        "UPDATE users SET email = NULL",
        "TABLE activities",
        "CREATE TABLE m ()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            role.execute(statement.encode())
    role.execute(MAKE.encode())


def test_role_has_timeouts_and_no_attributes(role: psycopg.Connection) -> None:
    limits = "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone"

    assert [role.execute(f"SHOW {name}".encode()).fetchone() for name in limits] == [
        ("1500ms",),
        ("1s",),
        ("2s",),
        ("UTC",),
    ]
    flags = "rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    values = role.execute(f"SELECT {flags} FROM pg_roles WHERE rolname = current_user".encode()).fetchone()
    assert values == (False,) * 6


def test_script_is_idempotent_and_stores_the_password_as_a_hash(owner_url: str) -> None:
    secret = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{ROLE}'"
    url = make_conninfo(owner_url, user=ROLE, password=PASSWORD)
    found = []

    for settings, told in (({"LAMBDA_CONNECTION_URL": url}, " and its password"), ({}, "")) * 2:
        said = succeeds("db-lambda-role", CONNECTION_URL=owner_url, **settings)
        assert said.endswith(f": the role {ROLE} has its rights{told}\n")
        found += [str(hashed) for (hashed,) in rows(owner_url, secret)]

    # The same password gets a new salt each time that it is set.
    assert all(hashed.startswith("SCRAM-SHA-256$") for hashed in found)
    assert found[0] == found[1] != found[2]
    assert rows(url, "SELECT current_user::text") == [(ROLE,)]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://somebody:s3cret@h/d", f"the user in LAMBDA_CONNECTION_URL is not {ROLE}"),
        (f"postgresql://{ROLE}:s3%zzcret@h/d", "LAMBDA_CONNECTION_URL is malformed: a user or a password in it"),
    ],
)
def test_invalid_lambda_url_is_one_error_line(owner_url: str, url: str, said: str) -> None:
    line = fails("db-lambda-role", CONNECTION_URL=owner_url, LAMBDA_CONNECTION_URL=url)

    assert line.startswith(f"cruddur: {said}")
    assert "s3" not in line


def test_iam_membership_needs_rds(owner: psycopg.Connection, owner_url: str) -> None:
    # One test, because roles belong to the server that concurrent tests share.
    members = "SELECT member::regrole::text FROM pg_auth_members WHERE roleid::regrole::text = 'rds_iam' ORDER BY 1"
    for command in ("db-create", "db-lambda-role"):
        line = fails(command, "--iam", CONNECTION_URL=owner_url)
        assert line == (
            "cruddur: --iam: the server has no role rds_iam: only RDS takes IAM tokens; leave --iam out elsewhere"
        )

    owner.execute("CREATE ROLE rds_iam NOLOGIN")
    try:
        for _ in range(2):
            succeeds("db-lambda-role", "--iam", CONNECTION_URL=owner_url)
        assert rows(owner_url, members) == [(ROLE,)]
        for _ in range(2):
            succeeds("db-create", "--iam", CONNECTION_URL=owner_url)
        assert rows(owner_url, members) == [(ROLE,), (SERVICE,)]
    finally:
        owner.execute("DROP ROLE rds_iam")


@pytest.mark.slow
@pytest.mark.usefixtures("role_url")
def test_restore_on_another_server_grants_the_privileges_again(owner_url: str, home: Path, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    succeeds("db-backup", str(dump), CONNECTION_URL=owner_url)

    with embedded.running_server(home, options=THROWAWAY) as server:
        succeeds("db-restore", str(dump), "restored", CRUDDUR_DATA_DIR=str(home))
        restored = make_conninfo(server, dbname="restored", user=ROLE)
        assert rows(restored, f"{MAKE} RETURNING cognito_user_id") == [("sub",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(restored, "SELECT email FROM users")
