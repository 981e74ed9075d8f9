"""No index of the array of mentions, because every statement reads the table mentionings. Reads and writes go on."""

from ops.indexes import drop_index

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Drop the index."""
    drop_index("activities_mentions_idx")
