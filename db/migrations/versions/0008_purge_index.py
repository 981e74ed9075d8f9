"""The index of the purge's order. Reads and writes go on meanwhile."""

from alembic import op

revision = "0008"
down_revision = "0007"

# Each statement is a transaction. After a failure of any of them the whole list can run again.
STATEMENTS = (
    # An interrupted build leaves an invalid index, which no statement can use.
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
