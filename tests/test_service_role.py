"""The roles of service and Lambda: docs/database.md lists all their privileges, and Postgres refuses the rest."""

import re

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from ops.command import ROOT, Database
from ops.create_database import ROLE, create
from ops.lambda_role import ROLE as LAMBDA_ROLE
from ops.lambda_role import lambda_role
from ops.roles import role_lock
from ops.schema_load import schema_load
from tests.factories import Make

# The privileges of a role, own or through PUBLIC, on our relations, functions and schemas, on every server's
# databases, and the role's own attributes. The last two parts cover objects of any other kind.
RIGHTS = r"""
    WITH relations AS (
        SELECT pg_class.oid, pg_class.relname
        FROM pg_class
        WHERE pg_class.relnamespace = 'public'::regnamespace AND pg_class.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    ), columns AS (
        SELECT
            relations.relname,
            privileges.name,
            array_agg(pg_attribute.attname::text ORDER BY pg_attribute.attname) AS names
        FROM relations
        JOIN pg_attribute ON pg_attribute.attrelid = relations.oid AND pg_attribute.attnum > 0
        CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS privileges (name)
        WHERE
            NOT pg_attribute.attisdropped
            AND has_column_privilege(%(role)s::name, relations.oid, pg_attribute.attnum, privileges.name)
            AND NOT has_table_privilege(%(role)s::name, relations.oid, privileges.name)
        GROUP BY relations.relname, privileges.name
    )
    SELECT relations.relname, privileges.name
    FROM relations
    CROSS JOIN unnest(%(privileges)s::text[]) AS privileges (name)
    WHERE has_table_privilege(%(role)s::name, relations.oid, privileges.name)
    UNION ALL
    SELECT columns.relname, columns.name || ' (' || array_to_string(columns.names, ', ') || ')' FROM columns
    UNION ALL
    SELECT pg_class.relname, 'USAGE'
    FROM pg_class
    WHERE
        pg_class.relnamespace = 'public'::regnamespace
        AND CASE WHEN pg_class.relkind = 'S' THEN has_sequence_privilege(%(role)s::name, pg_class.oid, 'USAGE') END
    UNION ALL
    SELECT pg_proc.oid::regprocedure::text, 'EXECUTE'
    FROM pg_proc
    WHERE
        pg_proc.pronamespace = 'public'::regnamespace
        AND has_function_privilege(%(role)s::name, pg_proc.oid, 'EXECUTE')
        AND NOT EXISTS (SELECT FROM pg_depend WHERE pg_depend.objid = pg_proc.oid AND pg_depend.deptype = 'e')
    UNION ALL
    SELECT 'schema ' || pg_namespace.nspname, privileges.name
    FROM pg_namespace
    CROSS JOIN unnest(ARRAY['USAGE', 'CREATE']) AS privileges (name)
    WHERE
        pg_namespace.nspname NOT LIKE 'pg\_%%'
        AND pg_namespace.nspname <> 'information_schema'
        AND has_schema_privilege(%(role)s::name, pg_namespace.oid, privileges.name)
    UNION ALL
    SELECT
        CASE WHEN pg_database.datname = current_database() THEN 'the database' ELSE pg_database.datname END,
        privileges.name
    FROM pg_database
    CROSS JOIN unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) AS privileges (name)
    WHERE
        pg_database.datname IN (current_database(), 'postgres', 'template1')
        AND has_database_privilege(%(role)s::name, pg_database.oid, privileges.name)
    UNION ALL
    SELECT 'the role', attributes.name
    FROM pg_roles
    CROSS JOIN LATERAL (
        VALUES
            ('LOGIN', pg_roles.rolcanlogin),
            ('SUPERUSER', pg_roles.rolsuper),
            ('CREATEROLE', pg_roles.rolcreaterole),
            ('CREATEDB', pg_roles.rolcreatedb),
            ('REPLICATION', pg_roles.rolreplication),
            ('BYPASSRLS', pg_roles.rolbypassrls)
    ) AS attributes (name, is_set)
    WHERE pg_roles.rolname = %(role)s AND attributes.is_set
    UNION ALL
    SELECT 'the role', 'member of ' || pg_roles.rolname
    FROM pg_auth_members
    JOIN pg_roles ON pg_roles.oid = pg_auth_members.roleid
    WHERE pg_auth_members.member = %(role)s::text::regrole
    UNION ALL
    SELECT 'the role', unnest(pg_db_role_setting.setconfig)
    FROM pg_db_role_setting
    WHERE pg_db_role_setting.setrole = %(role)s::text::regrole
    UNION ALL
    SELECT pg_shdepend.classid::regclass::text, 'OWNER'
    FROM pg_shdepend
    WHERE
        pg_shdepend.refclassid = 'pg_authid'::regclass
        AND pg_shdepend.refobjid = %(role)s::text::regrole
        AND pg_shdepend.deptype = 'o'
    UNION ALL
    SELECT pg_shdepend.classid::regclass::text, 'GRANT'
    FROM pg_shdepend
    WHERE
        pg_shdepend.refclassid = 'pg_authid'::regclass
        AND pg_shdepend.refobjid = %(role)s::text::regrole
        AND pg_shdepend.deptype = 'a'
        AND pg_shdepend.classid NOT IN (
            'pg_class'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass, 'pg_database'::regclass
        )
"""
PRIVILEGES = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
# The privilege MAINTAIN exists since this version.
MAINTAIN_VERSION = 170_000


def documented_privileges(role: str) -> set[tuple[str, str]]:
    """Return the privileges of `role` that docs/database.md lists, by object."""
    section = (ROOT / "docs" / "database.md").read_text().partition(f"### Privileges of `{role}`\n")[2]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", re.split(r"\n##+ ", section)[0], re.MULTILINE)
    return {(name, privilege) for name, cell in rows for privilege in re.findall("`([^`]+)`", cell)}


@pytest.mark.parametrize("role", [ROLE, LAMBDA_ROLE])
def test_documentation_lists_every_privilege_of_a_role(owner: Connection, owner_url: str, role: str) -> None:
    create(Database("CONNECTION_URL", owner_url))
    lambda_role(Database("CONNECTION_URL", owner_url))
    maintain = ["MAINTAIN"] if owner.info.server_version >= MAINTAIN_VERSION else []

    privileges = owner.execute(RIGHTS.encode(), {"role": role, "privileges": PRIVILEGES + maintain}).fetchall()

    assert set(privileges) == documented_privileges(role)


def test_schema_load_revokes_privileges_of_public(owner: Connection, owner_url: str, service_url: str) -> None:
    # The default privileges of Postgres 14.
    owner.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")

    schema_load(Database("CONNECTION_URL", owner_url))

    with psycopg.connect(service_url) as service, pytest.raises(psycopg.errors.InsufficientPrivilege):
        service.execute("CREATE TABLE mine (n integer)")


# Statements that an attacker with the role's password might try.
FORBIDDEN = [
    *("SELECT email FROM users", "SELECT * FROM users", "SELECT users FROM users", "COPY users (email) TO STDOUT"),
    "INSERT INTO users (handle, display_name, email, cognito_user_id) VALUES ('a', 'a', 'a', 'a') RETURNING email",
    *(
        "UPDATE users SET cognito_user_id = 'mine'",
        "UPDATE users SET email = 'mine'",
        "UPDATE users SET handle = 'mine'",
    ),
    *("DELETE FROM users", "UPDATE activities SET message = 'mine'", "UPDATE activities SET user_uuid = uuid"),
    *("UPDATE activities SET expires_at = NULL", "UPDATE messages SET message = 'mine'", "DELETE FROM messages"),
    *("UPDATE messages SET expires_at = now()", "UPDATE message_groups SET last_message_at = now()"),
    *("DELETE FROM last_messages", "UPDATE last_messages SET expires_at = NULL"),
    "INSERT INTO last_messages (message_uuid) VALUES (gen_random_uuid())",
    *("DELETE FROM message_groups", "DELETE FROM idempotency_keys", "UPDATE idempotency_keys SET user_uuid = made"),
    "SELECT cognito_user_id FROM deletions",
    *("DELETE FROM deletions", "UPDATE deletions SET finished_at = now()", "UPDATE deletions SET user_uuid = NULL"),
    "INSERT INTO deletions (sub_hash, outcome, expires_at) VALUES (sha256(''), 'requested', now())",
    *("SELECT purge_deletions(1, now())", "SELECT delete_conversations(ARRAY[gen_random_uuid()])"),
    *("SELECT comment FROM reports", "SELECT evidence FROM reports", "SELECT * FROM reports", "DELETE FROM reports"),
    *("UPDATE reports SET closed_at = now()", "INSERT INTO reports (expires_at) VALUES ('infinity')"),
    *("DELETE FROM alembic_version", "UPDATE alembic_version SET version_num = '9999'"),
    *("UPDATE message_groups SET lesser_user_uuid = greater_user_uuid", "SELECT count_reply()"),
    *(f"BEGIN; LOCK TABLE {table} IN ACCESS SHARE MODE" for table in ("users", "messages", "message_groups")),
    *(f"BEGIN; LOCK TABLE {table} IN ACCESS SHARE MODE" for table in ("idempotency_keys", "alembic_version")),
    *("BEGIN; LOCK TABLE activities IN ACCESS SHARE MODE", "DELETE FROM activities", "DELETE FROM unfinished_threads"),
    "SELECT expire_descendants(ARRAY[gen_random_uuid()], now(), 1, now())",
    *("TRUNCATE activities", "DROP TABLE activities", "SELECT uuid FROM users WHERE email > ''"),
    *("CREATE TABLE mine (n integer)", "CREATE TEMPORARY TABLE mine (n integer)", "CREATE SCHEMA mine"),
    *("ALTER TABLE users ADD COLUMN n integer", "CREATE FUNCTION mine() RETURNS integer RETURN 1"),
    *("CREATE TRIGGER mine AFTER INSERT ON users EXECUTE FUNCTION count_reply()", "CREATE EXTENSION citext"),
    *("COPY activities TO '/tmp/stolen'", "COPY activities TO PROGRAM 'cat'", "COPY activities FROM PROGRAM 'id'"),
    *("SELECT pg_read_file('PG_VERSION')", "SELECT pg_ls_dir('.')", "SELECT lo_import('/etc/passwd')"),
    *("CREATE ROLE another", "ALTER ROLE cruddur_service SUPERUSER", "CREATE DATABASE another"),
    *("SELECT rolpassword FROM pg_authid", "ALTER SYSTEM SET work_mem TO '1GB'", "SELECT pg_reload_conf()"),
    *("SET session_replication_role TO replica", "CREATE PUBLICATION mine", "SELECT pg_switch_wal()"),
]


def test_role_is_refused_all_other_statements(
    subtests: pytest.Subtests, service_url: str, owner: Connection, owner_url: str, make: Make
) -> None:
    create(Database("CONNECTION_URL", owner_url))
    make.activity(make.user(), "hello")
    before = owner.execute("SELECT users, activities FROM users, activities").fetchall()

    for statement in FORBIDDEN:
        with subtests.test(statement), psycopg.connect(service_url, autocommit=True) as service:
            service.execute("UPDATE users SET bio = NULL")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute(statement.encode())

            assert owner.execute("SELECT users, activities FROM users, activities").fetchall() == before


@pytest.mark.parametrize("setting", ["role", "session_authorization"])
def test_role_cannot_become_another_role(service_url: str, owner: Connection, setting: str) -> None:
    with psycopg.connect(service_url) as service, pytest.raises(psycopg.errors.InsufficientPrivilege):
        service.execute("SELECT set_config(%s, %s, false)", [setting, owner.info.user])


def test_role_cannot_end_sessions_of_others(service_url: str, owner: Connection) -> None:
    with psycopg.connect(service_url, autocommit=True) as service:
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute(f"SELECT {function}(%s)".encode(), [owner.info.backend_pid])


def test_conversation_uuid_cannot_change(service_url: str, make: Make) -> None:
    make.conversation(make.user(), make.user())

    with psycopg.connect(service_url) as service, pytest.raises(psycopg.errors.CheckViolation):
        service.execute("UPDATE message_groups SET uuid = gen_random_uuid()")


# The statements that Postgres cannot forbid, according to docs/database.md.
ALLOWED = [
    *(
        "SET statement_timeout TO 0",
        f"ALTER ROLE {ROLE} SET statement_timeout TO 0",
        f"ALTER ROLE {ROLE} PASSWORD NULL",
    ),
    *("SELECT pg_advisory_xact_lock(1)", "SELECT lo_create(0)", "NOTIFY anything"),
]


def test_statements_that_postgres_cannot_forbid_are_documented(
    subtests: pytest.Subtests, service_url: str, owner_url: str
) -> None:
    # Roles belong to the whole server.
    with role_lock(Database("CONNECTION_URL", owner_url)), psycopg.connect(service_url) as service:
        for statement in ALLOWED:
            with subtests.test(statement), service.transaction(force_rollback=True):
                service.execute(statement.encode())


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_role_cannot_connect_to_another_database(service_url: str, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(make_conninfo(service_url, dbname=database))


def test_another_role_cannot_connect_to_the_database(service_url: str, owner: Connection, owner_url: str) -> None:
    create(Database("CONNECTION_URL", owner_url))
    owner.execute("DROP ROLE IF EXISTS cruddur_stranger")
    owner.execute("CREATE ROLE cruddur_stranger LOGIN PASSWORD 'cruddur'")

    try:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(make_conninfo(service_url, user="cruddur_stranger"))
    finally:
        owner.execute("DROP ROLE cruddur_stranger")


def test_queries_of_others_are_hidden_from_the_role(service_url: str, owner: Connection) -> None:
    owner.execute("SELECT 'secret'")

    with psycopg.connect(service_url) as service:
        others = service.execute("SELECT query FROM pg_stat_activity WHERE usename <> current_user").fetchall()

    assert {query for (query,) in others} == {"<insufficient privilege>"}
