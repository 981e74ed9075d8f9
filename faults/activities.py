"""Activities by the thousand, inserted by one statement."""

from harness.environment import Postgres

# Row n replies to the row that `parent` says, if there is one: they expire together.
ROWS = """
    WITH author AS (
        SELECT users.uuid, row_number() OVER (ORDER BY users.handle) AS number FROM users
    ), numbered AS (
        SELECT
            n, gen_random_uuid() AS uuid, author.uuid AS author_uuid, {message} AS message, {expires_at} AS expires_at
        FROM generate_series(1, %s) AS n
        JOIN author ON author.number = {author}
    ), inserted AS (
        INSERT INTO activities (
            uuid, user_uuid, message, search_text, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at
        )
        SELECT
            numbered.uuid, numbered.author_uuid, numbered.message, numbered.message, parent.uuid, parent.author_uuid,
            now() - interval '2 days' + numbered.n * interval '1 us', COALESCE(parent.expires_at, numbered.expires_at)
        FROM numbered
        LEFT JOIN numbered AS parent ON parent.n = {parent}
        ORDER BY numbered.n
    )
    SELECT numbered.uuid::text FROM numbered WHERE numbered.n = 1
"""
# Of many users. Of few texts, whose trigrams are soon in the index.
COLUMNS = {"author": "1 + n %% 20", "message": "'about the plan of ' || n %% 100", "parent": "NULL"}


def insert_activities(database: Postgres, count: int, *, expires_at: str, **columns: str) -> str:
    """Insert activities. The columns are expressions of n, besides the usual. Return the uuid of the first."""
    # The trigger counts the replies one by one. No figure needs their number.
    database.rows("ALTER TABLE activities DISABLE TRIGGER activities_reply_made")
    ((uuid,),) = database.rows(ROWS.format(**COLUMNS | columns, expires_at=expires_at), count)
    database.rows("ALTER TABLE activities ENABLE TRIGGER activities_reply_made")
    database.rows("VACUUM (ANALYZE) activities")
    return str(uuid)


def insert_thread(database: Postgres, replies: int, message: str, parent: str = "1") -> str:
    """Insert an activity by the first user, and replies by the second to the rows `parent`. Return its uuid."""
    columns = {"author": "LEAST(n, 2)", "message": message, "parent": f"CASE WHEN numbered.n > 1 THEN {parent} END"}
    return insert_activities(database, replies + 1, expires_at="now() + interval '1 day'", **columns)
