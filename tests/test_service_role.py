"""The service's role: everything that it may do stands in docs/database.md, and what it may not is refused."""

import re

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from ops.command import ROOT, Database
from ops.create import ROLE, create
from tests.make import Make

# Each relation, function and schema of ours, the databases that every server has, and the role itself: what the role
# may do with it, by itself or as everybody may.
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
    SELECT pg_proc.oid::regprocedure::text, 'EXECUTE'
    FROM pg_proc
    WHERE
        pg_proc.pronamespace = 'public'::regnamespace
        AND has_function_privilege(%(role)s::name, pg_proc.oid, 'EXECUTE')
        AND pg_proc.prorettype <> 'trigger'::regtype
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
    SELECT 'the server', attributes.name
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
    SELECT 'the server', 'role ' || pg_roles.rolname
    FROM pg_auth_members
    JOIN pg_roles ON pg_roles.oid = pg_auth_members.roleid
    WHERE pg_auth_members.member = %(role)s::text::regrole
"""
PRIVILEGES = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
# MAINTAIN came with this version.
MAINTAIN_VERSION = 170_000


def documented() -> set[tuple[str, str]]:
    """What docs/database.md says of the role: each object with each of its privileges."""
    section = (ROOT / "docs" / "database.md").read_text().partition("### What the service's role may do")[2]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", section.partition("\n## ")[0], re.MULTILINE)
    return {(name, privilege) for name, cell in rows for privilege in re.findall("`([^`]+)`", cell)}


def test_the_document_lists_everything_that_the_role_may_do(owner: Connection, owner_url: str) -> None:
    create(Database("CONNECTION_URL", owner_url))
    maintain = ["MAINTAIN"] if owner.info.server_version >= MAINTAIN_VERSION else []

    found = owner.execute(RIGHTS.encode(), {"role": ROLE, "privileges": PRIVILEGES + maintain}).fetchall()

    assert set(found) == documented()


# What somebody would try who has got hold of the role.
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
    *("DELETE FROM message_groups", "DELETE FROM idempotency_keys", "UPDATE idempotency_keys SET user_uuid = made"),
    *("DELETE FROM alembic_version", "UPDATE alembic_version SET version_num = '9999'"),
    *("BEGIN; LOCK TABLE users", "BEGIN; LOCK TABLE messages", "TRUNCATE activities", "DROP TABLE activities"),
    *("CREATE TABLE mine (n integer)", "CREATE TEMPORARY TABLE mine (n integer)", "CREATE SCHEMA mine"),
    *("ALTER TABLE users ADD COLUMN n integer", "CREATE FUNCTION mine() RETURNS integer RETURN 1"),
    *("CREATE TRIGGER mine AFTER INSERT ON users EXECUTE FUNCTION count_reply()", "CREATE EXTENSION citext"),
    *("COPY activities TO '/tmp/stolen'", "COPY activities FROM PROGRAM 'id'", "SELECT pg_read_file('PG_VERSION')"),
    *("CREATE ROLE another", "SET ROLE postgres", "ALTER ROLE cruddur_service SUPERUSER", "CREATE DATABASE another"),
    *("SELECT rolpassword FROM pg_authid", "ALTER SYSTEM SET work_mem TO '1GB'", "SELECT pg_reload_conf()"),
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_role_may_do_nothing_that_the_service_does_not(
    service_url: str, owner: Connection, owner_url: str, make: Make, statement: str
) -> None:
    create(Database("CONNECTION_URL", owner_url))
    make.activity(make.user(), "hello")
    before = owner.execute("SELECT users, activities FROM users, activities").fetchall()

    with psycopg.connect(service_url, autocommit=True) as service:
        service.execute("UPDATE users SET bio = NULL")
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)):
            service.execute(statement.encode())

    assert owner.execute("SELECT users, activities FROM users, activities").fetchall() == before


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_the_role_may_connect_nowhere_else(service_url: str, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(make_conninfo(service_url, dbname=database))


def test_another_role_may_not_connect_to_the_database(service_url: str, owner: Connection, owner_url: str) -> None:
    create(Database("CONNECTION_URL", owner_url))
    owner.execute("DROP ROLE IF EXISTS cruddur_stranger")
    owner.execute("CREATE ROLE cruddur_stranger LOGIN PASSWORD 'cruddur'")

    try:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(make_conninfo(service_url, user="cruddur_stranger"))
    finally:
        owner.execute("DROP ROLE cruddur_stranger")


def test_what_others_run_is_not_shown_to_the_role(service_url: str, owner: Connection) -> None:
    owner.execute("SELECT 'secret'")

    with psycopg.connect(service_url) as service:
        others = service.execute("SELECT query FROM pg_stat_activity WHERE usename <> current_user").fetchall()

    assert {query for (query,) in others} <= {"<insufficient privilege>"}
