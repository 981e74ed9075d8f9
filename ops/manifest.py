"""The manifest of a database: the revision of its schema, and of each table the row count and a checksum."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from lib.command_errors import CommandError
from ops.schema_load import schema_revision

# The text of a row depends on the session's settings, so all checksums are computed with the same ones.
# Reading a whole table may exceed a timeout, so there is none. Older versions lack some of these settings.
SESSION = """
SELECT set_config(pg_settings.name, normal.value, true)
FROM (
    VALUES
        ('timezone', 'UTC'), ('datestyle', 'ISO, YMD'), ('intervalstyle', 'postgres'), ('bytea_output', 'hex'),
        ('extra_float_digits', '1'), ('statement_timeout', '0'), ('transaction_timeout', '0'),
        ('idle_in_transaction_session_timeout', '0')
) AS normal (name, value)
JOIN pg_settings ON lower(pg_settings.name) = normal.name
"""
TABLES = """
SELECT pg_namespace.nspname, pg_class.relname
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE pg_class.relkind = 'r' AND pg_namespace.nspname !~ '^(pg_|information_schema$)'
ORDER BY pg_namespace.nspname, pg_class.relname
"""
# A sum of the rows' hashes does not depend on their order. SHA-256 works under FIPS, which forbids MD5.
# Unlike hashtext, it is the same in every version.
CONTENTS = """
SELECT
    count(*),
    sum(('x' || encode(substring(sha256(convert_to(hashed::text, 'UTF8')) FOR 8), 'hex'))::bit(64)::bigint)::text
FROM {} AS hashed
"""


class TableContents(NamedTuple):
    """The row count and the checksum of a table. An empty table has no checksum."""

    rows: int
    checksum: str | None


class Manifest(NamedTuple):
    """The contents of a database at one instant; `tables` is keyed by schema and name, `public.users`."""

    revision: str
    tables: dict[str, TableContents]

    def __str__(self) -> str:
        rows = [(name, f"{table.rows:,}") for name, table in self.tables.items()]
        return "\n".join(f"{name:24} {count:>14}" for name, count in [("table", "rows"), *rows])


def compute(connection: Connection) -> Manifest:
    """Return the manifest of what the transaction of `connection` sees. Raises `CommandError` without a schema."""
    revision = schema_revision(connection)
    if revision is None:
        raise CommandError("the database has no schema: run bin/db-schema-load")
    tables = connection.execute(TABLES).fetchall()
    return Manifest(revision, {".".join(names): table_contents(connection, *names) for names in tables})


def normalize_session(connection: Connection) -> None:
    """Set one text format for values and no timeout, for the transaction of `connection`."""
    connection.execute(SESSION)


def table_contents(connection: Connection, *names: str) -> TableContents:
    """Return the contents of a table, by its schema and name."""
    row = connection.execute(SQL(CONTENTS).format(Identifier(*names))).fetchone()
    assert row is not None
    return TableContents(*row)


def manifest_path(file: Path) -> Path:
    """Return the path of a backup's manifest: `file` with `.json` appended."""
    return Path(f"{file}.json")


def write(manifest: Manifest, path: Path) -> None:
    """Write a manifest as JSON. Raises `OSError`."""
    tables = {name: table._asdict() for name, table in manifest.tables.items()}
    path.write_text(json.dumps({"revision": manifest.revision, "tables": tables}, indent=2) + "\n")


def read(path: Path) -> Manifest:
    """Return the manifest in a file. Raises `CommandError`."""
    try:
        document = json.loads(path.read_text())
        tables = {name: TableContents(**table) for name, table in document["tables"].items()}
        return Manifest(document["revision"], tables)
    except OSError as error:
        raise CommandError(
            f"{path} can't be read ({error.strerror}): bin/db-backup writes it beside the backup"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandError(f"{path} is not a manifest of bin/db-backup's") from error


def differences(actual: Manifest, expected: Manifest) -> Iterator[str]:
    """Yield a line for each difference between a database and its manifest."""
    if actual.revision != expected.revision:
        yield f"the schema has revision {actual.revision}, and the manifest says {expected.revision}"
    for name in sorted(actual.tables.keys() | expected.tables.keys()):
        actual_table, expected_table = actual.tables.get(name), expected.tables.get(name)
        if actual_table != expected_table:
            yield f"{name} has {describe(actual_table)}, and the manifest says {describe(expected_table)}"


def describe(table: TableContents | None) -> str:
    """Return a table's contents in words."""
    return f"{table.rows:,} rows of checksum {table.checksum}" if table else "no table"
