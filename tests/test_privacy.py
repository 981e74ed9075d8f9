"""docs/privacy.md: the document names each column of the schema, so that a new one must be described."""

import re

import pytest
from psycopg import Connection

from ops.command import ROOT

DOCUMENT = (ROOT / "docs" / "privacy.md").read_text()
COLUMNS = """
SELECT columns.table_name, columns.column_name
FROM information_schema.columns
JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = 'public' AND tables.table_type = 'BASE TABLE'
"""


def described() -> list[tuple[str, str]]:
    """Return each table and column that the document's first table names."""
    section = DOCUMENT.split("## The database\n")[1].split("\nThe database is also")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [(cells[0].strip(" `"), column) for cells in rows for column in re.findall(r"`(\w+)`", cells[1])]


def test_document_describes_each_column_once(owner: Connection) -> None:
    assert sorted(described()) == sorted(owner.execute(COLUMNS).fetchall())


@pytest.mark.parametrize("change", ["ALTER TABLE users ADD COLUMN phone text", "CREATE TABLE devices (user_uuid uuid)"])
def test_new_column_is_noticed(owner: Connection, change: str) -> None:
    owner.execute(change.encode())

    assert len(set(owner.execute(COLUMNS).fetchall()) - set(described())) == 1
