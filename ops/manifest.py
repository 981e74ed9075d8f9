"""What a database holds: the revision of its schema, and by table how many rows and a checksum over all of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from lib.command_errors import CommandError
from ops.schema_load import schema_revision

# A row has many texts, by the session's settings; to compare them, all sessions have the same. And
# to read a whole table takes as long as it takes. Not every version has every limit.
SESSION = """
SELECT set_config(pg_settings.name, given.value, true)
FROM (
    VALUES
        ('timezone', 'UTC'), ('datestyle', 'ISO, YMD'), ('intervalstyle', 'postgres'), ('bytea_output', 'hex'),
        ('extra_float_digits', '1'), ('statement_timeout', '0'), ('transaction_timeout', '0'),
        ('idle_in_transaction_session_timeout', '0')
) AS given (name, value)
JOIN pg_settings ON lower(pg_settings.name) = given.name
"""
TABLES = """
SELECT pg_namespace.nspname, pg_class.relname
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
WHERE pg_class.relkind = 'r' AND pg_namespace.nspname !~ '^(pg_|information_schema$)'
ORDER BY pg_namespace.nspname, pg_class.relname
"""
# The sum of the rows' hashes, which is the same in whatever order they lie. SHA-256 is there
# also where MD5 is forbidden (FIPS), and gives the same in every version, unlike hashtext.
CONTENTS = """
SELECT
    count(*),
    sum(('x' || encode(substring(sha256(convert_to(counted::text, 'UTF8')) FOR 8), 'hex'))::bit(64)::bigint)::text
FROM {} AS counted
"""


class Contents(NamedTuple):
    """What a table holds. A table without rows has no checksum."""

    rows: int
    checksum: str | None


class Manifest(NamedTuple):
    """What a database holds at one instant."""

    revision: str
    tables: dict[str, Contents]

    def __str__(self) -> str:
        rows = [(name, f"{contents.rows:,}") for name, contents in self.tables.items()]
        return "\n".join(f"{name:24} {count:>14}" for name, count in [("table", "rows"), *rows])


def take(connection: Connection) -> Manifest:
    """What the transaction that `connection` is in sees. Raises `CommandError` when there is no schema."""
    found = schema_revision(connection)
    if found is None:
        raise CommandError("the database has no schema: run bin/db-schema-load")
    tables = connection.execute(TABLES).fetchall()
    return Manifest(found, {".".join(names): contents(connection, *names) for names in tables})


def same_texts(connection: Connection) -> None:
    """Have the transaction that `connection` is in write values alike everywhere, for as long as it takes."""
    connection.execute(SESSION)


def contents(connection: Connection, *names: str) -> Contents:
    """What the table of that schema and name holds."""
    counted = connection.execute(SQL(CONTENTS).format(Identifier(*names))).fetchone()
    assert counted is not None
    return Contents(*counted)


def beside(file: Path) -> Path:
    """Where the manifest of a backup is: `file` with `.json` after its name."""
    return Path(f"{file}.json")


def write(manifest: Manifest, path: Path) -> None:
    """Write it down."""
    tables = {name: contents._asdict() for name, contents in manifest.tables.items()}
    path.write_text(json.dumps({"revision": manifest.revision, "tables": tables}, indent=2) + "\n")


def read(path: Path) -> Manifest:
    """What was written down. Raises `CommandError`."""
    try:
        written = json.loads(path.read_text())
        tables = {name: Contents(**contents) for name, contents in written["tables"].items()}
        return Manifest(written["revision"], tables)
    except OSError as error:
        raise CommandError(
            f"{path} can't be read ({error.strerror}): bin/db-backup writes it beside the backup"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandError(f"{path} is no manifest of bin/db-backup's") from error


def differences(found: Manifest, wanted: Manifest) -> Iterator[str]:
    """What is not as it was to be, a line each."""
    if found.revision != wanted.revision:
        yield f"the schema has revision {found.revision}, and the manifest says {wanted.revision}"
    for name in sorted(found.tables.keys() | wanted.tables.keys()):
        one, other = found.tables.get(name), wanted.tables.get(name)
        if one != other:
            yield f"{name} has {described(one)}, and the manifest says {described(other)}"


def described(contents: Contents | None) -> str:
    """A table's contents in words."""
    return f"{contents.rows:,} rows of checksum {contents.checksum}" if contents else "no table"
