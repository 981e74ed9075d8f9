"""Recognise the tables of the project's journal by their columns, and the names that stand in the way."""

import re
from collections.abc import Iterator

from psycopg import Connection

from lib.command_errors import CommandError
from ops.command import ROOT
from ops.create_database import ROLE

SQL_FOLDER = ROOT / "db" / "journal"
SCHEMA_FILE = ROOT / "db" / "schema.sql"
# Of each version of a table the columns and their types. `!` is NOT NULL, and `*` the primary key.
USERS = {
    "uuid": "uuid!*",
    "display_name": "text",
    "handle": "text",
    "cognito_user_id": "text",
    "created_at": "timestamp without time zone!",
}
ACTIVITIES = {
    "uuid": "uuid!*",
    "user_uuid": "uuid!",
    "message": "text!",
    "replies_count": "integer",
    "reposts_count": "integer",
    "likes_count": "integer",
    "reply_to_activity_uuid": "integer",
    "expires_at": "timestamp without time zone",
    "created_at": "timestamp without time zone!",
}
VERSIONS = {
    "users": [USERS, USERS | {"email": "text"}, USERS | {"email": "text", "bio": "text"}],
    "activities": [ACTIVITIES | {"reply_to_activity_uuid": type_} for type_ in ("integer", "text", "uuid")],
}
# The definitions in db/schema.sql. Such a file skips a name that exists.
DEFINED = re.compile(
    r"^CREATE (?:OR REPLACE )?(?:UNIQUE )?(?:TABLE|VIEW|INDEX|FUNCTION) (?:IF NOT EXISTS )?(\w+)", re.MULTILINE
)
OLD_TABLES = """
    SELECT
        to_regclass('public.alembic_version') IS NULL
        AND COALESCE(to_regclass('public.users'), to_regclass('public.activities')) IS NOT NULL
"""
NOTHING = "nothing was changed"


def load(name: str) -> bytes:
    """Return the statements of a file in db/journal."""
    return (SQL_FOLDER / f"{name}.sql").read_bytes()


def has_old_tables(connection: Connection) -> bool:
    """Return whether the database has no revision, and a table with the name of one of the journal's."""
    return connection.execute(OLD_TABLES).fetchone() == (True,)


def has_journal(connection: Connection) -> bool:
    """Return whether the database has the journal's tables.

    Raises `CommandError` when a table of their names is neither the journal's nor one of our schema.
    """
    if not has_old_tables(connection):
        return False
    found: dict[str, dict[str, str]] = {}
    for table, is_table, column, type_, is_required, is_key in connection.execute(load("tables")):
        marks = f"{'!' if is_required else ''}{'*' if is_key else ''}"
        found.setdefault(table, {})[column] = f"{type_}{marks}" if is_table else "a column of a view"
    differences = [line for table in VERSIONS for line in differences_of(table, found.get(table, {}))]
    if differences:
        raise CommandError(
            "\n".join(
                [
                    f"{NOTHING}: the database has tables of our names, which are neither ours nor the journal's:",
                    *differences,
                    "give them the columns of docs/database.md, or rename the tables, and run bin/db-migrate again",
                ]
            )
        )
    return True


def differences_of(table: str, found: dict[str, str]) -> list[str]:
    """Return a line for each column in which a table differs from the nearest of the journal's versions of it."""
    if not found:
        return [f"the table {table} is missing"]
    return min(([*compare(table, found, version)] for version in VERSIONS[table]), key=len)


def compare(table: str, found: dict[str, str], version: dict[str, str]) -> Iterator[str]:
    """Yield a line for each column in which a table differs from a version of it."""
    for column in sorted(found.keys() | version.keys()):
        if column not in version:
            yield f"{table}.{column} is unknown"
        elif column not in found:
            yield f"{table}.{column} is missing"
        elif found[column].rstrip("!*") != version[column].rstrip("!*"):
            yield f"{table}.{column} is {found[column].rstrip('!*')}, and not {version[column].rstrip('!*')}"
        elif "*" in version[column] and "*" not in found[column]:
            yield f"{table}.{column} is no primary key"
        elif "!" in version[column] and "!" not in found[column]:
            yield f"{table}.{column} may be null"


def check_names(connection: Connection) -> list[str]:
    """Return the other tables of the database, which stay. Raises `CommandError` when something has a name of ours."""
    ours = set(DEFINED.findall(SCHEMA_FILE.read_text()))
    others = connection.execute(load("names")).fetchall()
    used = sorted({name for name, _ in others if name in ours})
    if used:
        raise CommandError(
            f"{NOTHING}: beside the journal's tables our schema's names are in use: {', '.join(used)}: rename or drop "
            "those, and run bin/db-migrate again"
        )
    if connection.execute("SELECT to_regnamespace('journal')").fetchone() != (None,):
        raise CommandError(f"{NOTHING}: the database has a schema journal: rename it, and run bin/db-migrate again")
    if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE]).rowcount:
        raise CommandError(f"{NOTHING}: the server has no role {ROLE}: run bin/db-create, and bin/db-migrate again")
    return [name for name, is_table in others if is_table]
