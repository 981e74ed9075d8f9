"""Deletions of users. Reads and writes go on meanwhile.

Each statement is a transaction. After a failure of any of them the whole revision can run again.
"""

from pathlib import Path

from alembic import op

from ops.indexes import build_index

revision = "0017"
down_revision = "0016"

# Each is built while writes go on.
INDEXES = (
    "CREATE INDEX activities_author_idx ON public.activities USING btree (user_uuid)",
    "CREATE INDEX messages_user_idx ON public.messages USING btree (user_uuid)",
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
# The locks of one statement at a time: together with the lock of `users` below they could deadlock with the purge.
DELETIONS = (
    """
    CREATE TABLE IF NOT EXISTS deletions (
        -- SHA-256 of the claim `sub`. Subs are random UUIDs, so that the hash cannot be reversed.
        sub_hash bytea CONSTRAINT deletions_pkey PRIMARY KEY,
        -- Null after the end of the deletion.
        user_uuid uuid
            CONSTRAINT deletions_user_uuid_key UNIQUE
            CONSTRAINT deletions_user_uuid_fkey REFERENCES users (uuid) ON DELETE SET NULL,
        -- The claim `sub`, until the user pool has deleted the user: an operator needs it then.
        cognito_user_id text,
        -- The request that began the deletion, and that alone may take it back.
        request uuid,
        -- The outcome in the user pool.
        outcome text NOT NULL,
        requested_at timestamptz NOT NULL DEFAULT now(),
        -- From this time on no read shows the user.
        confirmed_at timestamptz,
        -- From this time on no row of the user remains, except conversations with others.
        finished_at timestamptz,
        expires_at timestamptz NOT NULL,
        -- Whether the file of deletions beside the backups has this one.
        in_ledger boolean NOT NULL DEFAULT false,
        CONSTRAINT deletions_sub_hash_check CHECK (octet_length(sub_hash) = 32),
        CONSTRAINT deletions_outcome_check CHECK (outcome IN ('requested', 'deleted', 'unknown')),
        CONSTRAINT deletions_confirmed_at_check CHECK ((outcome = 'requested') = (confirmed_at IS NULL)),
        CONSTRAINT deletions_finished_at_check CHECK (finished_at IS NULL OR confirmed_at IS NOT NULL)
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS deletions_unfinished_idx ON deletions (confirmed_at, requested_at, user_uuid)
        WHERE finished_at IS NULL
    """,
    """
    CREATE INDEX IF NOT EXISTS deletions_purge_idx ON deletions (expires_at) WHERE finished_at IS NOT NULL
    """,
    """
    CREATE INDEX IF NOT EXISTS deletions_ledger_idx ON deletions (confirmed_at, sub_hash) WHERE NOT in_ledger
    """,
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
    for definition in INDEXES:
        build_index(definition)
    with op.get_context().autocommit_block():
        cursor = op.get_bind().connection.cursor()
        for statement in (*USERS, *DELETIONS):
            cursor.execute(statement)
        cursor.execute(Path(__file__).with_suffix(".sql").read_bytes())
        cursor.execute(VIEW)
