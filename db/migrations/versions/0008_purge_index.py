"""The order in which the purge deletes. Readers and writers go on."""

from alembic import op

revision = "0008"
down_revision = "0007"

# Each by itself. The whole may be repeated after a failure at any of them.
STATEMENTS = (
    # What an interrupted build leaves behind is no index that a statement could use.
    "DROP INDEX CONCURRENTLY IF EXISTS activities_purge_idx",
    """
    CREATE INDEX CONCURRENTLY activities_purge_idx ON activities (expires_at, created_at DESC)
        WHERE expires_at IS NOT NULL
    """,
    "DROP INDEX CONCURRENTLY IF EXISTS activities_expires_at_idx",
    "ALTER TABLE activities VALIDATE CONSTRAINT activities_expires_at_check",
)


def upgrade() -> None:
    """Run the statements outside of a transaction."""
    with op.get_context().autocommit_block():
        for statement in STATEMENTS:
            op.get_bind().connection.cursor().execute(statement)
