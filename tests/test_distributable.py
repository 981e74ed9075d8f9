"""The conflicts of the schema and of the statements with the rules of Citus are known.

No node is distributed today. A new statement with a conflict, and a conflict that is gone, change the list on purpose.
`bin/python -m pytest -s -n 0 tests/test_distributable.py` prints the list.
"""

from pathlib import Path

import psycopg
import pytest

from lib import queries
from ops.command import ROOT
from tests.distribution import (
    DISTRIBUTION,
    Schema,
    catalog_conflicts,
    function_conflicts,
    query_conflicts,
    statement_rules,
    statements,
)

KNOWN = Path(__file__).with_name("distribution_conflicts.txt")


def executed_queries() -> list[str]:
    """Return the queries that the service names, without those that are only parts of others."""
    code = "".join(path.read_text() for path in (ROOT / "backend-flask").rglob("*.py"))
    names = sorted(str(path.relative_to(queries.FOLDER).with_suffix("")) for path in queries.FOLDER.rglob("*.sql"))
    assert "activities/home" in names
    return [name for name in names if f'"{name}"' in code and name not in {queries.COLUMNS, queries.READER_COLUMN}]


def test_conflicts_are_the_known_ones(owner: psycopg.Connection) -> None:
    schema = Schema.of(owner)
    found = [
        *catalog_conflicts(owner),
        *query_conflicts(schema, executed_queries()),
        *function_conflicts(schema, (ROOT / "db" / "schema.sql").read_text()),
    ]
    lines = sorted(str(conflict) for conflict in found)
    print("\n".join(["", *lines]))

    assert lines == KNOWN.read_text().splitlines(), f"a conflict has come or gone: change {KNOWN.name}"


def test_every_table_has_a_distribution(owner: psycopg.Connection) -> None:
    schema = Schema.of(owner)

    assert set(schema.columns) - set(schema.views) == set(DISTRIBUTION)
    for table, column in DISTRIBUTION.items():
        assert column is None or column in schema.columns[table]


@pytest.mark.parametrize(
    ("planted", "conflict"),
    [
        (
            "ALTER TABLE likes ADD CONSTRAINT planted UNIQUE (user_uuid)",
            "planted: unique without likes.activity_uuid",
        ),
        ("ALTER TABLE likes ADD CONSTRAINT planted UNIQUE (created_at, activity_uuid)", None),
        ("CREATE UNIQUE INDEX planted ON follows (followed_uuid)", "planted: unique without follows.follower_uuid"),
        ("ALTER TABLE users ADD CONSTRAINT planted UNIQUE (bio)", None),
        (
            "ALTER TABLE reports ADD CONSTRAINT planted FOREIGN KEY (activity_uuid) REFERENCES activities",
            "planted: foreign key from reports to another shard of activities",
        ),
        (
            "ALTER TABLE likes ADD CONSTRAINT planted FOREIGN KEY (user_uuid) REFERENCES activities",
            "planted: foreign key from likes to another shard of activities",
        ),
        ("ALTER TABLE likes ADD CONSTRAINT planted FOREIGN KEY (activity_uuid) REFERENCES activities", None),
        ("ALTER TABLE likes ADD CONSTRAINT planted FOREIGN KEY (author_uuid) REFERENCES users", None),
        (
            "CREATE TRIGGER planted AFTER INSERT ON taggings FOR EACH ROW EXECUTE FUNCTION add_author()",
            "planted: trigger on taggings",
        ),
        ("CREATE TRIGGER planted AFTER INSERT ON mutes FOR EACH ROW EXECUTE FUNCTION add_author()", None),
    ],
)
def test_rules_of_the_catalog(owner: psycopg.Connection, planted: str, conflict: str | None) -> None:
    before = set(map(str, catalog_conflicts(owner)))

    owner.execute(planted.encode())

    assert set(map(str, catalog_conflicts(owner))) - before == ({conflict} if conflict else set())


# For each rule a statement that breaks it, and one beside it that does not.
STATEMENTS = [
    (
        "INSERT INTO activities (uuid, tags) VALUES ($1, ARRAY(SELECT handle FROM users))",
        "sub-select in VALUES of activities",
    ),
    ("INSERT INTO activities (uuid, tags) VALUES ($1, $2)", None),
    ("INSERT INTO users (uuid, bio) VALUES ($1, (SELECT handle FROM users))", None),
    (
        "UPDATE messages SET message = $1 WHERE message_group_uuid = $2 RETURNING (SELECT handle FROM users)",
        "sub-select in RETURNING of messages",
    ),
    ("UPDATE messages SET message = $1 WHERE message_group_uuid = $2 RETURNING messages.uuid", None),
    (
        "INSERT INTO read_markers (user_uuid) VALUES ($1) ON CONFLICT (user_uuid, feed) DO UPDATE SET read_at = now()",
        "time in ON CONFLICT of read_markers",
    ),
    (
        (
            "INSERT INTO read_markers (user_uuid) VALUES ($1)"
            " ON CONFLICT (user_uuid, feed) DO UPDATE SET read_at = EXCLUDED.read_at WHERE read_at < CURRENT_TIMESTAMP"
        ),
        "time in ON CONFLICT of read_markers",
    ),
    (
        (
            "INSERT INTO read_markers (user_uuid, read_at) VALUES ($1, now())"
            " ON CONFLICT (user_uuid, feed) DO UPDATE SET read_at = EXCLUDED.read_at"
        ),
        None,
    ),
    (
        "UPDATE likes SET activity_uuid = $1 WHERE activity_uuid = $2",
        "sets likes.activity_uuid, the distribution column",
    ),
    ("UPDATE likes SET author_uuid = $1 WHERE activity_uuid = $2", None),
    (
        "INSERT INTO message_groups (uuid) VALUES ($1) ON CONFLICT (uuid) DO UPDATE SET uuid = EXCLUDED.uuid",
        "sets message_groups.uuid, the distribution column",
    ),
    (
        "SELECT FROM live_activities WHERE user_uuid = $1 FOR UPDATE",
        "locks rows of activities on several shards",
    ),
    (
        "SELECT FROM activities WHERE uuid = $1 OR user_uuid = $2 FOR UPDATE",
        "locks rows of activities on several shards",
    ),
    (
        "SELECT FROM activities WHERE uuid = (SELECT activity_uuid FROM likes WHERE user_uuid = $1) FOR SHARE",
        "locks rows of activities on several shards",
    ),
    ("SELECT FROM live_activities WHERE user_uuid = $1 AND $2 = uuid FOR UPDATE", None),
    ("SELECT FROM activities JOIN users ON users.uuid = user_uuid FOR UPDATE OF users", None),
    (
        "SELECT FROM activities AS one JOIN activities AS other ON other.reply_to_activity_uuid = one.uuid",
        "joins activities with itself by another column",
    ),
    (
        (
            "DELETE FROM activities WHERE EXISTS ("
            "SELECT FROM live_activities AS reply WHERE reply.reply_to_activity_uuid = activities.uuid)"
        ),
        "joins activities with itself by another column",
    ),
    (
        "SELECT FROM activities AS one JOIN live_activities AS other ON other.uuid = one.uuid AND one.user_uuid = $1",
        None,
    ),
    ("SELECT FROM activities WHERE uuid IN (SELECT parent.uuid FROM activities AS parent)", None),
    (
        "WITH a AS (SELECT $1 AS n) SELECT FROM a, LATERAL (SELECT FROM likes WHERE user_uuid = a.n LIMIT 1) AS b",
        "LATERAL with LIMIT on likes for each row of a CTE",
    ),
    (
        (
            "SELECT FROM scanned CROSS JOIN LATERAL (SELECT FROM follows WHERE follower_uuid = $1"
            " UNION ALL SELECT FROM follows WHERE followed_uuid = scanned.n LIMIT 1) AS b"
        ),
        "LATERAL with LIMIT on follows for each row of a CTE",
    ),
    (
        "WITH a AS (SELECT $1 AS n) SELECT FROM a CROSS JOIN LATERAL (SELECT FROM likes WHERE user_uuid = a.n) AS b",
        None,
    ),
    ("WITH a AS (SELECT $1 AS n) SELECT FROM a CROSS JOIN LATERAL (SELECT FROM users LIMIT a.n) AS b", None),
    (
        "SELECT (SELECT count(*) FROM live_activities WHERE user_uuid = users.uuid) FROM users",
        "correlated sub-select on activities from users",
    ),
    ("SELECT (SELECT count(*) FROM live_activities WHERE user_uuid = $1) FROM users", None),
    ("SELECT (SELECT handle FROM users WHERE users.uuid = likes.user_uuid) FROM likes", None),
    (
        (
            "SELECT (SELECT true FROM likes WHERE activity_uuid = activities.uuid AND likes.user_uuid = users.uuid)"
            " FROM activities JOIN users ON users.uuid = activities.user_uuid"
        ),
        None,
    ),
]


def test_rules_of_statements(owner: psycopg.Connection, subtests: pytest.Subtests) -> None:
    schema = Schema.of(owner)
    for text, rule in STATEMENTS:
        with subtests.test(text):
            (statement,) = statements(text)
            assert statement_rules(schema, statement) == ({rule} if rule else set())


FUNCTION = """
    CREATE FUNCTION planted() RETURNS void LANGUAGE {language} AS $$
    {body}
    $$
"""
IN_PLPGSQL = """
    DECLARE
        steps text[] := ARRAY['{step}'];
        mine uuid[];
    BEGIN
        {statement};
        mine := ARRAY(SELECT uuid FROM activities WHERE user_uuid = mine[1] {lock});
        IF (SELECT count(*) FROM activities AS one JOIN activities AS two ON {condition}) > 0 THEN
            RETURN;
        END IF;
    END
"""
HARMLESS = {"step": "some words", "statement": "NULL", "lock": "", "condition": "one.uuid = two.uuid"}


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({}, None),
        ({"step": "UPDATE likes SET activity_uuid = $1"}, "sets likes.activity_uuid, the distribution column"),
        (
            {"statement": "PERFORM FROM messages WHERE uuid = mine[1] FOR UPDATE"},
            "locks rows of messages on several shards",
        ),
        ({"statement": "PERFORM FROM messages WHERE message_group_uuid = mine[1] FOR UPDATE"}, None),
        ({"lock": "FOR UPDATE"}, "locks rows of activities on several shards"),
        ({"condition": "true"}, "joins activities with itself by another column"),
    ],
)
def test_rules_apply_within_functions(owner: psycopg.Connection, changed: dict[str, str], rule: str | None) -> None:
    function = FUNCTION.format(language="plpgsql", body=IN_PLPGSQL.format(**HARMLESS | changed))

    found = [str(conflict) for conflict in function_conflicts(Schema.of(owner), function)]

    assert found == ([f"planted(): {rule}"] if rule else [])


def test_rules_apply_within_functions_of_sql(owner: psycopg.Connection) -> None:
    function = FUNCTION.format(language="sql", body="UPDATE likes SET activity_uuid = user_uuid")

    (found,) = function_conflicts(Schema.of(owner), function)

    assert str(found) == "planted(): sets likes.activity_uuid, the distribution column"
