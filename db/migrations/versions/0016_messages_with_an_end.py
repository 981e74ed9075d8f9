"""Messages with an end. Reads and writes go on meanwhile.

Each statement is a transaction. After a failure of any of them the whole revision can run again.
"""

from pathlib import Path

from alembic import op

from ops.indexes import build_index

revision = "0016"
down_revision = "0015"

COLUMN = (
    "ALTER TABLE messages ADD COLUMN IF NOT EXISTS expires_at timestamptz",
    """
    ALTER TABLE messages
        DROP CONSTRAINT IF EXISTS messages_expires_at_check,
        ADD CONSTRAINT messages_expires_at_check CHECK (expires_at >= created_at) NOT VALID
    """,
    "ALTER TABLE messages VALIDATE CONSTRAINT messages_expires_at_check",
)
# Each is built while writes go on.
INDEXES = (
    (
        "CREATE INDEX messages_message_group_idx ON public.messages USING btree"
        " (message_group_uuid, created_at DESC, uuid DESC, COALESCE(expires_at, 'infinity'::timestamp with time zone))"
    ),
    "CREATE INDEX messages_purge_idx ON public.messages USING btree (expires_at) WHERE (expires_at IS NOT NULL)",
    # The next primary key.
    "CREATE UNIQUE INDEX messages_uuid_key ON public.messages USING btree (uuid)",
)
# A message that was written since the SQL file ran is stored already.
LAST_MESSAGES = """
    INSERT INTO last_messages (
        message_uuid, message_group_uuid, lesser_user_uuid, greater_user_uuid, expires_at, created_at
    )
    SELECT
        newest.uuid,
        message_groups.uuid,
        message_groups.lesser_user_uuid,
        message_groups.greater_user_uuid,
        newest.expires_at,
        newest.created_at
    FROM message_groups
    CROSS JOIN LATERAL (
        SELECT messages.uuid, messages.expires_at, messages.created_at
        FROM messages
        WHERE messages.message_group_uuid = message_groups.uuid
        ORDER BY messages.created_at DESC, messages.uuid DESC
        LIMIT 1
    ) AS newest
    WHERE NOT EXISTS (SELECT FROM last_messages WHERE last_messages.message_group_uuid = message_groups.uuid)
    ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    """Run the statements outside of a transaction, and between them the SQL file of the same name as one."""
    cursor = op.get_bind().connection.cursor()
    cursor.execute("SELECT to_regclass('last_messages')")
    # A previous attempt may have come this far. The indexes are in use then.
    if cursor.fetchone() == (None,):
        with op.get_context().autocommit_block():
            cursor = op.get_bind().connection.cursor()
            for statement in COLUMN:
                cursor.execute(statement)
        for definition in INDEXES:
            build_index(definition)
        with op.get_context().autocommit_block():
            op.get_bind().connection.cursor().execute(Path(__file__).with_suffix(".sql").read_bytes())
    with op.get_context().autocommit_block():
        op.get_bind().connection.cursor().execute(LAST_MESSAGES)
