"""Mentions in feed order, authors of activities with reactions, and read markers. Reads and writes go on meanwhile."""

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"

# The rows from before the trigger. An activity that is deleted meanwhile is left out.
MENTIONINGS = """
    INSERT INTO mentionings (activity_uuid, user_uuid, expires_at, created_at)
    SELECT activities.uuid, users.uuid, activities.expires_at, activities.created_at
    FROM activities
    JOIN users ON users.uuid = ANY (activities.mentions)
    WHERE activities.mentions <> '{}' AND COALESCE(activities.expires_at, 'infinity') > now()
    FOR KEY SHARE
    ON CONFLICT (activity_uuid, user_uuid) DO NOTHING
"""
# One transaction for each table: a like or repost locks its own table and then activities.
AUTHOR = """
    ALTER TABLE {table} ADD COLUMN IF NOT EXISTS author_uuid uuid;
    CREATE OR REPLACE TRIGGER {table}_author
        BEFORE INSERT ON {table}
        FOR EACH ROW
        WHEN (NEW.author_uuid IS NULL)
        EXECUTE FUNCTION add_author();
    ALTER TABLE {table}
        ALTER COLUMN activity_uuid SET (n_distinct = 2),
        ALTER COLUMN user_uuid SET (n_distinct = 2),
        ALTER COLUMN author_uuid SET (n_distinct = 2);
    GRANT SELECT (author_uuid) ON {table} TO cruddur_service;
"""
# The authors of existing rows. A batch is short, so that a request waits only briefly for the lock of a row. A row that
# another transaction has locked is being deleted.
AUTHORS = """
    UPDATE {table} SET author_uuid = activities.user_uuid
    FROM activities
    WHERE
        activities.uuid = {table}.activity_uuid
        AND {table}.ctid = ANY (ARRAY(
            SELECT {table}.ctid FROM {table} WHERE {table}.author_uuid IS NULL LIMIT 10000 FOR UPDATE SKIP LOCKED
        ))
"""
# An interrupted build leaves an invalid index, which no statement can use.
DROP = "DROP INDEX CONCURRENTLY IF EXISTS {table}_author_idx"
INDEX = """
    CREATE INDEX CONCURRENTLY {table}_author_idx ON {table} (author_uuid, created_at DESC, user_uuid DESC)
        WHERE user_uuid <> author_uuid
"""
# The planner's statistics of the new columns.
ANALYZE = "ANALYZE activities, likes, reposts, mentionings"


def upgrade() -> None:
    """Run the SQL file of the same name, and then each further statement in a transaction of its own."""
    op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_bytes())
    with op.get_context().autocommit_block():
        cursor = op.get_bind().connection.cursor()
        cursor.execute(MENTIONINGS)
        for table in ("likes", "reposts"):
            cursor.execute(AUTHOR.format(table=table))
            while cursor.execute(AUTHORS.format(table=table)).rowcount:
                pass
            cursor.execute(DROP.format(table=table))
            cursor.execute(INDEX.format(table=table))
        cursor.execute(ANALYZE)
