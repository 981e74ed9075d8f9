"""db/schema.sql and db/migrations lead to the same schema."""

import re
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psycopg
import pytest

from harness.waiting import wait_until
from lib.checks import SCHEMA
from lib.command_errors import CommandError
from ops.command import ROOT, Database
from ops.create_database import create
from ops.migrate import migrate
from ops.schema_load import schema_load
from tests.factories import Make
from tests.schema_dump import dump


def test_loading_the_schema_again_changes_nothing(owner: psycopg.Connection, owner_url: str, make: Make) -> None:
    author = make.user("LinYue")
    make.activity(author, "a reply", reply_to=make.activity(author))
    before = owner.execute("SELECT activities::text FROM activities ORDER BY uuid").fetchall()

    schema_load(Database("CONNECTION_URL", owner_url))

    assert owner.execute("SELECT activities::text FROM activities ORDER BY uuid").fetchall() == before
    assert owner.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]


def test_migrations_and_schema_sql_give_the_same_schema(owner_url: str, empty_url: str) -> None:
    migrate(Database("CONNECTION_URL", empty_url))

    assert dump(empty_url) == dump(owner_url)
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]


def test_newest_migration_is_the_required_schema_version() -> None:
    versions = sorted((ROOT / "db" / "migrations" / "versions").glob("*.py"))

    assert versions[-1].name.startswith(f"{SCHEMA}_")


def test_migrating_again_changes_nothing(owner_url: str, make: Make) -> None:
    make.user("bystander")
    before = dump(owner_url)

    migrate(Database("CONNECTION_URL", owner_url))

    assert dump(owner_url) == before
    assert make.owner.execute("SELECT handle FROM users").fetchall() == [("bystander",)]


PEOPLE = """
    INSERT INTO users (handle, display_name, cognito_user_id)
    VALUES ('lines', E'a\\n\\tb\\u2028', '1'), ('bell', E'\\u0007', '2'), ('kofi', 'Kofi', '3')
"""
ACTIVITIES = """
    INSERT INTO activities (user_uuid, message) SELECT uuid, message FROM users
    CROSS JOIN (VALUES (E'\\u0007'), (E'kept\\u0007')) AS given (message) WHERE handle = 'kofi'
"""
REPLIES = """
    INSERT INTO activities (user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid)
    SELECT user_uuid, E'\\u0085', uuid, user_uuid FROM activities
"""
MESSAGES = """
    INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid)
    SELECT message_group_uuid(one.uuid, other.uuid), one.uuid, other.uuid
    FROM users AS one JOIN users AS other ON one.uuid < other.uuid;
    INSERT INTO messages (message_group_uuid, user_uuid, message)
    SELECT uuid, lesser_user_uuid, message FROM message_groups
    CROSS JOIN (VALUES (E'\\u001B'), ('kept')) AS given (message)
"""


def test_migration_repairs_invalid_text_and_deletes_no_row(empty_url: str) -> None:
    migrate(Database("CONNECTION_URL", empty_url), "0004")
    with psycopg.connect(empty_url, autocommit=True) as connection:
        # An interrupted build leaves its index behind.
        for statement in (
            PEOPLE,
            ACTIVITIES,
            REPLIES,
            MESSAGES,
            "CREATE INDEX activities_search_idx ON activities (uuid)",
        ):
            connection.execute(statement.encode())

        migrate(Database("CONNECTION_URL", empty_url))

        names = connection.execute("SELECT handle, display_name FROM users ORDER BY 1").fetchall()
        activities = connection.execute(
            "SELECT message, replies_count, count(*) FROM activities GROUP BY 1, 2 ORDER BY 1, 2"
        )
        assert names == [("bell", "bell"), ("kofi", "Kofi"), ("lines", "a b")]
        assert sorted(activities) == [("kept\x07", 1, 1), ("\ufffd", 0, 2), ("\ufffd", 1, 1)]
        messages = connection.execute("SELECT message, count(*) FROM messages GROUP BY 1").fetchall()
        assert sorted(messages) == [("kept", 3), ("\ufffd", 3)]


POST = "INSERT INTO activities (user_uuid, message) SELECT uuid, 'hello' FROM users WHERE handle = 'kofi'"
REPLY = """
    INSERT INTO activities (user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid)
    SELECT user_uuid, 'a reply', uuid, user_uuid FROM live_activities ORDER BY created_at DESC LIMIT 1
"""
END = """
    SELECT end_activity(uuid, user_uuid) FROM live_activities WHERE reply_to_activity_uuid IS NULL LIMIT 1
"""


LIKE = """
    INSERT INTO likes (activity_uuid, user_uuid) SELECT uuid, user_uuid FROM live_activities ORDER BY created_at LIMIT 1
    ON CONFLICT DO NOTHING
"""


# The writes of the service of each revision, before likes, before reposts and before hashtags.
WRITES = {"0008": (POST, REPLY, END), "0009": (POST, REPLY, LIKE, END), "0012": (POST, REPLY, LIKE, END)}


@pytest.mark.parametrize(("revision", "writes"), WRITES.items())
def test_migration_runs_while_the_service_writes(empty_url: str, revision: str, writes: tuple[str, ...]) -> None:
    database = Database("CONNECTION_URL", empty_url)
    create(database)
    migrate(database, revision)
    with psycopg.connect(empty_url, autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
        connection.execute("INSERT INTO users (handle, display_name, cognito_user_id) VALUES ('kofi', 'Kofi', '3')")
        is_migrated = Event()

        def write() -> int:
            """Write as the service of the previous revision does, and count the posts."""
            count = 0
            with psycopg.connect(empty_url, autocommit=True) as service:
                service.execute("SET ROLE cruddur_service")
                while not is_migrated.is_set() or not count:
                    for statement in writes:
                        service.execute(statement.encode())
                    count += 1
            return count

        writing = pool.submit(write)
        wait_until(lambda: connection.execute("SELECT FROM activities").rowcount)
        migrate(database)
        is_migrated.set()

        posts = writing.result()
        row = connection.execute(
            "SELECT count(*), sum(likes_count) = (SELECT count(*) FROM likes), sum(reposts_count) FROM activities"
        ).fetchone()
        assert row == (2 * posts, True, 0)


BEFORE = """
    INSERT INTO users (handle, display_name, cognito_user_id) VALUES ('kofi', 'Kofi', '3'), ('lin', 'Lin', '4');
    INSERT INTO activities (user_uuid, message, mentions, expires_at)
    SELECT kofi.uuid, 'hello @lin', ARRAY[lin.uuid, gen_random_uuid()], lives.until
    FROM users AS kofi
    JOIN users AS lin ON lin.handle = 'lin'
    CROSS JOIN (VALUES (NULL), (now() + interval '1 day'), (now())) AS lives (until)
    WHERE kofi.handle = 'kofi';
    INSERT INTO likes (activity_uuid, user_uuid) SELECT uuid, mentions[1] FROM live_activities;
    INSERT INTO reposts (activity_uuid, user_uuid) SELECT uuid, mentions[1] FROM live_activities;
"""


def test_migration_stores_mentions_and_authors_of_existing_rows(empty_url: str) -> None:
    database = Database("CONNECTION_URL", empty_url)
    create(database)
    migrate(database, "0011")
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(BEFORE.encode())

        migrate(database)

        mentionings = """
            SELECT users.handle, mentionings.created_at = activities.created_at,
                mentionings.expires_at IS NOT DISTINCT FROM activities.expires_at
            FROM mentionings JOIN activities ON activities.uuid = activity_uuid
            JOIN users ON users.uuid = mentionings.user_uuid
        """
        assert connection.execute(mentionings.encode()).fetchall() == [("lin", True, True)] * 2
        for table in ("likes", "reposts"):
            authors = f"SELECT users.handle FROM {table} JOIN users ON users.uuid = author_uuid"
            assert connection.execute(authors.encode()).fetchall() == [("kofi",)] * 2


@pytest.mark.parametrize(
    ("revision", "table", "locked"),
    [
        *(("0008", "likes", "activities"), ("0009", "reposts", "activities")),
        *(("0010", "follows", "users"), ("0012", "taggings", "activities"), ("0013", "reports", "users")),
        *(("0014", "blocks", "users"), ("0015", "last_messages", "messages")),
    ],
)
def test_migration_that_gets_no_lock_changes_nothing(
    empty_url: str, revision: str, table: str, locked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # tests/test_script_failures.py waits for the whole 5 s.
    monkeypatch.setattr("ops.migrate.LOCK_TIMEOUT", "200ms")
    database = Database("CONNECTION_URL", empty_url)
    migrate(database, revision)
    with psycopg.connect(empty_url) as writer:
        writer.execute(f"LOCK TABLE {locked} IN ROW EXCLUSIVE MODE".encode())
        with pytest.raises(CommandError, match="lock timeout"):
            migrate(database)
        state = writer.execute("SELECT version_num, to_regclass(%s) FROM alembic_version", [table]).fetchall()
        assert state == [(revision, None)]

    assert SCHEMA in migrate(database)


def test_follows_migration_runs_while_the_service_writes(empty_url: str) -> None:
    database = Database("CONNECTION_URL", empty_url)
    create(database)
    migrate(database, "0010")
    with psycopg.connect(empty_url, autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
        is_migrated = Event()

        def write() -> int:
            """Create and rename users as the service of the previous revision does, and count the users."""
            count = 0
            with psycopg.connect(empty_url, autocommit=True) as service:
                service.execute("SET ROLE cruddur_service")
                while not is_migrated.is_set() or not count:
                    new = (f"user_{count}", "Test User", str(count))
                    service.execute(
                        "INSERT INTO users (handle, display_name, cognito_user_id) VALUES (%s, %s, %s)", new
                    )
                    service.execute("UPDATE users SET display_name = 'Renamed' WHERE handle = %s", new[:1])
                    count += 1
            return count

        writing = pool.submit(write)
        wait_until(lambda: connection.execute("SELECT FROM users").rowcount)
        migrate(database)
        is_migrated.set()

        users = writing.result()
        assert connection.execute("SELECT count(*), max(display_name) FROM users").fetchone() == (users, "Renamed")
        assert connection.execute("DELETE FROM users").rowcount == users


# The statements of the service before messages had an end.
SEND = """
    INSERT INTO messages (uuid, message_group_uuid, user_uuid, message)
    SELECT gen_random_uuid(), uuid, lesser_user_uuid, 'hello' FROM message_groups ORDER BY random() LIMIT 1
"""
CONTINUE = """
    INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid)
    SELECT uuid, lesser_user_uuid, greater_user_uuid FROM message_groups ORDER BY random() LIMIT 1
    ON CONFLICT (uuid) DO UPDATE SET uuid = EXCLUDED.uuid
"""
LIST = "SELECT uuid, last_message_at FROM message_groups ORDER BY last_message_at DESC LIMIT 20"
PURGE = "SELECT purged.activities, purged.ended, purged.idempotency_keys, purged.oldest FROM purge(1000) AS purged"
NEWEST = """
    SELECT
        last_messages.message_uuid = newest.uuid,
        (last_messages.created_at, last_messages.lesser_user_uuid, last_messages.greater_user_uuid)
            = (message_groups.last_message_at, message_groups.lesser_user_uuid, message_groups.greater_user_uuid),
        last_messages.expires_at
    FROM message_groups
    LEFT JOIN last_messages ON last_messages.message_group_uuid = message_groups.uuid
    CROSS JOIN LATERAL (
        SELECT uuid FROM messages WHERE message_group_uuid = message_groups.uuid
        ORDER BY created_at DESC, uuid DESC LIMIT 1
    ) AS newest
"""


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_messages_migration_runs_while_the_service_writes(empty_url: str, *, is_interrupted: bool) -> None:
    database = Database("CONNECTION_URL", empty_url)
    create(database)
    migrate(database, "0015")
    with psycopg.connect(empty_url, autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
        connection.execute(
            "INSERT INTO users (handle, display_name, cognito_user_id)"
            " SELECT 'user' || n, 'User', n::text FROM generate_series(1, 3) AS n"
        )
        connection.execute(MESSAGES.replace("E'\\u001B'", "'before'").encode())
        is_migrated = Event()

        def write() -> int:
            """Write as the service of the previous revision does, and count the messages."""
            count = 0
            with psycopg.connect(empty_url, autocommit=True) as service:
                service.execute("SET ROLE cruddur_service")
                while not is_migrated.is_set() or not count:
                    for statement in (SEND, CONTINUE, LIST, PURGE):
                        service.execute(statement.encode())
                    count += 1
            return count

        writing = pool.submit(write)
        wait_until(lambda: connection.execute("SELECT FROM messages WHERE message = 'hello'").rowcount)
        if is_interrupted:
            # The SQL file cannot replace this view.
            connection.execute("CREATE VIEW live_messages AS SELECT 1 AS n")
            with pytest.raises(CommandError, match="cannot change name of view column"):
                migrate(database, "0016")
            connection.execute("DROP VIEW live_messages")
            # The last statement, and the version, did not come.
            migrate(database, "0016")
            connection.execute("DELETE FROM last_messages")
            connection.execute("UPDATE alembic_version SET version_num = '0015'")
        migrate(database, "0016")
        is_migrated.set()
        # The writer may send one more message.
        written = writing.result()

        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (6 + written,)
        # One conversation may have a second row: a message of the moment in which the migration filled the table.
        stored = connection.execute(NEWEST.encode()).fetchall()
        assert stored.count((True, True, None)) == 3


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_deletions_migration_runs_while_the_service_writes(empty_url: str, *, is_interrupted: bool) -> None:
    database = Database("CONNECTION_URL", empty_url)
    create(database)
    migrate(database, "0016")
    with psycopg.connect(empty_url, autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
        handles = ["deleted_1234abcd", "Deleted_" + "x" * 22, "lin"]
        for handle in handles:
            connection.execute(
                "INSERT INTO users (handle, display_name, cognito_user_id) VALUES (%s, 'User', %s)", [handle, handle]
            )
        is_migrated = Event()

        def write() -> int:
            """Create users and activities, read and purge as the service of the previous revision does."""
            count = 0
            with psycopg.connect(empty_url, autocommit=True) as service:
                service.execute("SET ROLE cruddur_service")
                while not is_migrated.is_set() or not count:
                    new = (f"user_{count}", "User", str(count))
                    service.execute(
                        "INSERT INTO users (handle, display_name, cognito_user_id) VALUES (%s, %s, %s)", new
                    )
                    service.execute(
                        "INSERT INTO activities (user_uuid, message, expires_at)"
                        " SELECT uuid, 'hello', now() + interval '1 hour' FROM users WHERE handle = 'lin'"
                    )
                    service.execute("SELECT FROM live_activities JOIN users ON users.uuid = user_uuid LIMIT 20")
                    service.execute("SELECT FROM purge(1000)")
                    count += 1
            return count

        writing = pool.submit(write)
        wait_until(lambda: connection.execute("SELECT FROM activities").rowcount)
        if is_interrupted:
            # The last statement, and the version, did not come.
            migrate(database, "0017")
            connection.execute("UPDATE alembic_version SET version_num = '0016'")
        migrate(database, "0017")
        is_migrated.set()

        written = writing.result()
        assert connection.execute("SELECT count(*) FROM activities").fetchone() == (written,)
        # No user has a handle of deleted users.
        rows = connection.execute("SELECT handle FROM users WHERE cognito_user_id = ANY (%s) ORDER BY 1", [handles])
        renamed = [handle for (handle,) in rows]
        assert re.fullmatch("_Deleted_x{12}_[0-9a-f]{8} _deleted_1234abcd_[0-9a-f]{8} lin", " ".join(renamed))
