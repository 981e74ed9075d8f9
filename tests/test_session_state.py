"""Statements of the service keep nothing in their session: a pooler gives the next transaction another one."""

import re

import pytest

from ops.command import ROOT

# Operators' commands below ops/ hold locks of their sessions. They connect to Postgres itself.
SOURCES = [
    *sorted((ROOT / "backend-flask").rglob("*.py")),
    *sorted((ROOT / "aws" / "lambdas").rglob("*.py")),
    *sorted((ROOT / "db" / "sql").rglob("*.sql")),
    # Its functions run in the service's statements.
    ROOT / "db" / "schema.sql",
]
FORBIDDEN = {
    "advisory lock of the session": r"\bpg_(try_)?advisory_(?!xact_)\w+",
    # At the begin of a statement or of a Python string. UPDATE has its SET later.
    "SET": r"""(\A|;|["'])\s*(RE)?SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)\w""",
    "set_config of the session": r"\bset_config\s*\((?![^()]*,\s*true\s*\))",
    "LISTEN": r"\b(UN)?LISTEN\s+[\w*]",
    "temporary table": r"\bCREATE\s+((GLOBAL|LOCAL)\s+)?TEMP(ORARY)?\b|\bINTO\s+TEMP(ORARY)?\b|\bpg_temp\.",
    "cursor beyond its transaction": r"\bWITH\s+HOLD\b",
    "prepared statement by SQL": r"\bPREPARE\s+\w+\s*(\(|AS\b)|\b(DEALLOCATE|DISCARD)\s+\w",
    "last value of a sequence": r"\b(currval|lastval)\s*\(",
}
EXAMPLES = [
    ("SELECT pg_advisory_lock(%(key)s)", "advisory lock of the session"),
    ("SELECT pg_try_advisory_lock_shared(1)", "advisory lock of the session"),
    ("SELECT pg_advisory_unlock_all()", "advisory lock of the session"),
    ("SET statement_timeout TO '1s'", "SET"),
    ("-- A sentence.\nSET SESSION work_mem TO '1GB'", "SET"),
    ('connection.execute("SET search_path TO x")', "SET"),
    ("SELECT 1; RESET ALL", "SET"),
    ("SELECT set_config('a.b', 'c', false)", "set_config of the session"),
    ("LISTEN activities", "LISTEN"),
    ("CREATE TEMP TABLE t (a int)", "temporary table"),
    ("CREATE LOCAL TEMPORARY TABLE t (a int)", "temporary table"),
    ("SELECT 1 INTO TEMP t", "temporary table"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "cursor beyond its transaction"),
    ("PREPARE p AS SELECT 1", "prepared statement by SQL"),
    ("DISCARD ALL", "prepared statement by SQL"),
    ("SELECT lastval()", "last value of a sequence"),
]
ALLOWED = [
    "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)",
    "SET LOCAL lock_timeout TO '1s'",
    "UPDATE users\nSET bio = %(bio)s",
    "SELECT set_config('a.b', 'c', true)",
    "-- SELECT pg_advisory_lock(1)\nSELECT 1",
    "NOTIFY activities",
]


def session_state(text: str) -> list[str]:
    """Return the kinds of session state in SQL or Python, comments left out."""
    code = re.sub(r"(^|\s)(--|#).*", "", text)
    return [kind for kind, pattern in FORBIDDEN.items() if re.search(pattern, code)]


def test_no_statement_of_the_service_keeps_session_state() -> None:
    assert len(SOURCES) > 100
    assert {str(path.relative_to(ROOT)): kinds for path in SOURCES if (kinds := session_state(path.read_text()))} == {}


@pytest.mark.parametrize(("statement", "kind"), EXAMPLES)
def test_session_state_is_found(statement: str, kind: str) -> None:
    assert session_state(statement) == [kind]


@pytest.mark.parametrize("statement", ALLOWED)
def test_state_of_a_transaction_is_allowed(statement: str) -> None:
    assert session_state(statement) == []
