"""The schema of a database, to compare with that of another."""

import re
import subprocess

from ops import embedded


def dump(url: str) -> str:
    """Return the schema as pg_dump writes it, without the parts that differ per run."""
    process = subprocess.run(
        [embedded.bin_dir() / "pg_dump", "--schema-only", url], check=True, capture_output=True, text=True
    )
    # A random word against tampering with the dump, and a mark of Postgres 15.20's on each column.
    per_run = r"^\\(un)?restrict .*$|^ALTER TABLE ONLY \S+ ALTER COLUMN \S+ SET \(pg_attver=\d+\);$"
    mark_before_others = r"(?<=\()pg_attver=\d+, "
    return re.sub(f"{per_run}|{mark_before_others}", "", process.stdout, flags=re.MULTILINE)
