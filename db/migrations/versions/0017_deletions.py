"""Deletions of users. Reads and writes go on meanwhile.

Each statement is a transaction. After a failure of any of them the whole revision can run again.
"""

from pathlib import Path

from alembic import op

revision = "0017"
down_revision = "0016"

# An interrupted build leaves an invalid index, which no statement can use.
INDEXES = (
    "DROP INDEX CONCURRENTLY IF EXISTS activities_author_idx",
    "CREATE INDEX CONCURRENTLY activities_author_idx ON activities (user_uuid)",
    "DROP INDEX CONCURRENTLY IF EXISTS messages_user_idx",
    "CREATE INDEX CONCURRENTLY messages_user_idx ON messages (user_uuid)",
)
# A user with a handle of deleted users gets another, which begins with an underscore and ends with a part of the uuid.
USERS = (
    "ALTER TABLE users ALTER COLUMN cognito_user_id DROP NOT NULL",
    """
    UPDATE users SET handle = '_' || left(handle, 20) || '_' || left(uuid::text, 8)
    WHERE cognito_user_id IS NOT NULL AND starts_with(lower(handle COLLATE "C"), 'deleted_')
    """,
    """
    ALTER TABLE users
        DROP CONSTRAINT IF EXISTS users_deleted_check,
        ADD CONSTRAINT users_deleted_check
            CHECK ((cognito_user_id IS NULL) = starts_with(lower(handle COLLATE "C"), 'deleted_')) NOT VALID
    """,
    "ALTER TABLE users VALIDATE CONSTRAINT users_deleted_check",
)
# The view comes last and alone: with another lock before it, the revision could deadlock with a read.
VIEW = """
    CREATE OR REPLACE VIEW live_activities WITH (security_invoker = true) AS
    SELECT
        uuid,
        user_uuid,
        message,
        replies_count,
        reposts_count,
        likes_count,
        reply_to_activity_uuid,
        reply_to_user_uuid,
        mentions,
        expires_at,
        created_at,
        COALESCE(search_text, lower(normalize(message, NFKC))) AS search_text
    FROM activities
    WHERE
        COALESCE(expires_at, 'infinity') > now()
        AND CASE
            WHEN user_uuid = ANY (
                ARRAY(
                    SELECT deletions.user_uuid
                    FROM deletions
                    WHERE deletions.finished_at IS NULL AND deletions.confirmed_at IS NOT NULL
                )
            ) THEN NULL
            ELSE true
        END IS NOT NULL
"""


def upgrade() -> None:
    """Run the statements outside of a transaction, and between them the SQL file of the same name as one."""
    with op.get_context().autocommit_block():
        cursor = op.get_bind().connection.cursor()
        for statement in (*INDEXES, *USERS):
            cursor.execute(statement)
        cursor.execute(Path(__file__).with_suffix(".sql").read_bytes())
        cursor.execute(VIEW)
