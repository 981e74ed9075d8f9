"""The index of the search text, and the text rules for existing rows. Reads and writes go on meanwhile."""

from alembic import op

revision = "0006"
down_revision = "0005"

# Each statement is a transaction. After a failure of any of them the whole list can run again.
STATEMENTS = (
    # An interrupted build leaves an invalid index, which no search can use.
    "DROP INDEX CONCURRENTLY IF EXISTS activities_search_idx",
    """
    CREATE INDEX CONCURRENTLY activities_search_idx ON activities
        USING gin (COALESCE(search_text, lower(normalize(message, NFKC))) gin_trgm_ops)
    """,
    # A control in a name becomes a space. A name without any other character becomes the handle. Such a message becomes
    # U+FFFD, the sign for undisplayable text. No row is deleted.
    r"""
    UPDATE users SET display_name = COALESCE(
        NULLIF(btrim(regexp_replace(display_name, '[\u0001-\u0020\u007f-\u00a0\u2028\u2029]+', ' ', 'g')), ''), handle
    )
    WHERE display_name ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' OR display_name !~ '[^\u0001-\u0020\u007f-\u00a0]'
    """,
    "UPDATE activities SET message = U&'\\FFFD' WHERE message !~ '[^\\u0001-\\u0020\\u007f-\\u00a0]'",
    "UPDATE messages SET message = U&'\\FFFD' WHERE message !~ '[^\\u0001-\\u0020\\u007f-\\u00a0]'",
    "ALTER TABLE users VALIDATE CONSTRAINT users_display_name_check",
    "ALTER TABLE activities VALIDATE CONSTRAINT activities_message_check",
    "ALTER TABLE messages VALIDATE CONSTRAINT messages_message_check",
    # Only the previous version uses this index for searches.
    "DROP INDEX CONCURRENTLY IF EXISTS activities_message_idx",
)


def upgrade() -> None:
    """Run the statements outside of a transaction."""
    with op.get_context().autocommit_block():
        for statement in STATEMENTS:
            op.get_bind().connection.cursor().execute(statement)
