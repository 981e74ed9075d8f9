"""The schema's constraints, triggers and privileges."""

from uuid import UUID, uuid4

import psycopg
import pytest

from tests.factories import Activity, Make, User

MESSAGE_CHARS, REPLY_CHARS = 280, 1024


def assert_violates(owner: psycopg.Connection, constraint: str, statement: str, *parameters: object) -> None:
    """Expect a statement to violate `constraint`."""
    with pytest.raises(psycopg.errors.IntegrityError) as refusal:
        owner.execute(statement.encode(), parameters)
    assert refusal.value.diag.constraint_name == constraint


USER = "INSERT INTO users (handle, display_name, cognito_user_id, bio) VALUES (%s, %s, %s, %s)"


def test_handle_has_up_to_30_word_characters(subtests: pytest.Subtests, owner: psycopg.Connection) -> None:
    for handle in ("a", "A_9", "a" * 30):
        with subtests.test(handle):
            owner.execute(USER, [handle, "Name", f"sub of {handle}", None])
    for handle in ("", "a" * 31, "a b", "é", "a\n", "@a", "a-b"):
        with subtests.test(handle):
            assert_violates(owner, "users_handle_check", USER, handle, "Name", "sub", None)


def test_handle_and_sub_are_unique(owner: psycopg.Connection) -> None:
    owner.execute(USER, ["LinYue", "Lin", "sub", None])

    assert_violates(owner, "users_handle_key", USER, "LINYUE", "Other", "sub2", None)
    assert_violates(owner, "users_cognito_user_id_key", USER, "other", "Other", "sub", None)


def test_display_name_and_bio_have_limits(owner: psycopg.Connection) -> None:
    owner.execute(USER, ["a", "é" * 50, "sub", "é" * 160])

    assert_violates(owner, "users_display_name_check", USER, "b", "é" * 51, "sub2", None)
    assert_violates(owner, "users_display_name_check", USER, "b", " \t\n", "sub2", None)
    assert_violates(owner, "users_bio_check", USER, "b", "Name", "sub2", "é" * 161)


ACTIVITY_ROW = "INSERT INTO activities (user_uuid, message) VALUES (%s, %s)"
REPLY_ROW = """
    INSERT INTO activities (user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid) VALUES (%s, %s, %s, %s)
"""


def test_message_length_reply_columns_and_counts_have_checks(owner: psycopg.Connection, make: Make) -> None:
    author = make.user()
    parent = make.activity(author, "é" * MESSAGE_CHARS)
    make.activity(author, "é" * REPLY_CHARS, reply_to=parent)
    reply = (parent.uuid, author.uuid)

    assert_violates(owner, "activities_message_check", ACTIVITY_ROW, author.uuid, "é" * (MESSAGE_CHARS + 1))
    assert_violates(owner, "activities_message_check", ACTIVITY_ROW, author.uuid, " \t\r\n ")
    assert_violates(owner, "activities_message_check", REPLY_ROW, author.uuid, "é" * (REPLY_CHARS + 1), *reply)
    assert_violates(owner, "activities_reply_to_check", REPLY_ROW, author.uuid, "hello", parent.uuid, None)
    assert_violates(owner, "activities_reply_to_check", REPLY_ROW, author.uuid, "hello", None, author.uuid)
    assert_violates(
        owner, "activities_reply_to_activity_uuid_fkey", REPLY_ROW, author.uuid, "hello", uuid4(), author.uuid
    )
    assert_violates(owner, "activities_user_uuid_fkey", ACTIVITY_ROW, uuid4(), "hello")
    assert_violates(
        owner, "activities_expires_at_check", "UPDATE activities SET expires_at = created_at - interval '1 us'"
    )
    assert_violates(owner, "activities_counts_check", "UPDATE activities SET likes_count = -1")


def counts(owner: psycopg.Connection) -> dict[str, int]:
    """Return each activity's count of replies by its message."""
    return dict(owner.execute("SELECT message, replies_count FROM activities").fetchall())


def test_replies_are_counted_on_insert_and_delete(owner: psycopg.Connection, make: Make) -> None:
    author = make.user()
    question = make.activity(author, "question")
    make.activity(make.user(), "bystander's reply", reply_to=make.activity(author, "bystander"))
    first = make.activity(make.user(), "first", reply_to=question)
    make.activity(make.user(), "second", reply_to=question)
    make.activity(author, "first's", reply_to=first)
    assert counts(owner) == {
        "question": 2,
        "first": 1,
        "second": 0,
        "first's": 0,
        "bystander": 1,
        "bystander's reply": 0,
    }

    owner.execute("DELETE FROM activities WHERE message = 'first'")
    assert counts(owner) == {"question": 1, "second": 0, "bystander": 1, "bystander's reply": 0}

    owner.execute("DELETE FROM activities WHERE message = 'question'")
    assert counts(owner) == {"bystander": 1, "bystander's reply": 0}


def test_service_role_has_timeouts_and_utc(service_url: str) -> None:
    with psycopg.connect(service_url) as service:
        limits = "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone"
        values = [service.execute(f"SHOW {name}".encode()).fetchone() for name in limits]

    assert values == [("1800ms",), ("1s",), ("5s",), ("UTC",)]


GROUP_ROW = """
    INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid)
    SELECT message_group_uuid(one, other), one, other FROM (VALUES (%s::uuid, %s::uuid)) AS given (one, other)
"""


def test_conversation_has_two_members_and_is_unique(owner: psycopg.Connection, make: Make) -> None:
    lesser, greater = sorted([make.user(), make.user()], key=lambda user: user.uuid)

    assert_violates(owner, "message_groups_members_check", GROUP_ROW, greater.uuid, lesser.uuid)
    assert_violates(owner, "message_groups_members_check", GROUP_ROW, lesser.uuid, lesser.uuid)
    underived = GROUP_ROW.replace("message_group_uuid(one, other)", "gen_random_uuid()")
    assert_violates(owner, "message_groups_uuid_check", underived, lesser.uuid, greater.uuid)
    assert_violates(owner, "message_groups_lesser_user_uuid_fkey", GROUP_ROW, UUID(int=0), greater.uuid)
    assert_violates(owner, "message_groups_greater_user_uuid_fkey", GROUP_ROW, lesser.uuid, UUID(int=2**128 - 1))
    owner.execute(GROUP_ROW.encode(), [lesser.uuid, greater.uuid])
    assert_violates(owner, "message_groups_pkey", GROUP_ROW, lesser.uuid, greater.uuid)


def test_conversation_uuid_is_unique_and_symmetric(owner: psycopg.Connection) -> None:
    pairs = """
        SELECT
            count(DISTINCT message_group_uuid(a, b)),
            bool_and(message_group_uuid(a, b) = message_group_uuid(b, a)),
            bool_and(message_group_uuid(a, b)::text ~ '^.{8}-.{4}-8.{3}-[89ab].{3}-.{12}$')
        FROM (SELECT gen_random_uuid() AS a, gen_random_uuid() AS b FROM generate_series(1, 1000)) AS pair
    """

    assert owner.execute(pairs.encode()).fetchone() == (1000, True, True)


MESSAGE_ROW = "INSERT INTO messages (message_group_uuid, user_uuid, message) VALUES (%s, %s, %s)"


def test_direct_message_has_limits(owner: psycopg.Connection, make: Make) -> None:
    lin = make.user()
    group = make.conversation(lin, make.user(), "é" * REPLY_CHARS)

    assert_violates(owner, "messages_message_check", MESSAGE_ROW, group, lin.uuid, "é" * (REPLY_CHARS + 1))
    assert_violates(owner, "messages_message_check", MESSAGE_ROW, group, lin.uuid, " \t\r\n ")
    assert_violates(owner, "messages_message_group_uuid_fkey", MESSAGE_ROW, uuid4(), lin.uuid, "hello")
    assert_violates(owner, "messages_user_uuid_fkey", MESSAGE_ROW, group, uuid4(), "hello")
    ending = """
        INSERT INTO messages (message_group_uuid, user_uuid, message, expires_at)
        VALUES (%s, %s, 'hello', now() + %s::interval)
    """
    assert_violates(owner, "messages_expires_at_check", ending, group, lin.uuid, "-1 microsecond")
    owner.execute(ending, [group, lin.uuid, "0 s"])


LAST = """
    SELECT messages.message FROM last_messages JOIN messages ON messages.uuid = message_uuid
    WHERE last_messages.message_group_uuid = %s ORDER BY messages.created_at
"""


def test_conversation_stores_its_last_message_of_each_end(owner: psycopg.Connection, make: Make) -> None:
    lin = make.user()
    group = make.conversation(lin, make.user(), "stays")
    make.conversation(lin, make.user(), "of another conversation")
    for message, age, ttl, candidates in (
        ("a day", "50 s", "1 day", ["stays", "a day"]),
        ("an hour", "40 s", "1 hour", ["stays", "a day", "an hour"]),
        # Of one end the newest message counts.
        ("an hour again", "30 s", "1 hour", ["stays", "a day", "an hour again"]),
        # An older message never becomes the last one before a newer one that lives as long.
        ("late", "45 s", "1 hour", ["stays", "a day", "an hour again"]),
        ("a day again", "20 s", "1 day", ["stays", "a day again"]),
        ("stays too", "10 s", None, ["stays too"]),
        ("late", "15 s", "30 days", ["stays too"]),
    ):
        make.message(group, lin, message, age=age, ttl=ttl)
        assert owner.execute(LAST, [group]).fetchall() == [(candidate,) for candidate in candidates]


def test_conversation_stores_the_time_of_its_last_message(owner: psycopg.Connection, make: Make) -> None:
    lin = make.user()
    group = make.conversation(lin, make.user(), "hello")
    last = "SELECT last_message_at = (SELECT max(created_at) FROM messages) FROM message_groups WHERE uuid = %s"
    make.conversation(lin, make.user())
    assert owner.execute(last, [group]).fetchone() == (True,)

    make.message(group, lin, "older", age="1 hour")
    assert owner.execute(last, [group]).fetchone() == (True,)
    make.message(group, lin, "newer")
    assert owner.execute(last, [group]).fetchone() == (True,)


def test_deleting_a_user_deletes_only_their_conversations(
    owner: psycopg.Connection, make: Make, bystander: User
) -> None:
    lin = make.user()
    group = make.conversation(lin, bystander, "hello")
    before = owner.execute("SELECT count(*) FROM messages").fetchone()
    owner.execute(MESSAGE_ROW.encode(), [group, bystander.uuid, "hello yourself"])

    owner.execute("DELETE FROM users WHERE uuid = %s", [lin.uuid])

    assert owner.execute("SELECT count(*) FROM messages").fetchone() == (before[0] - 1,)


KEY_ROW = "INSERT INTO idempotency_keys (user_uuid, key, fingerprint, made) VALUES (%s, %s, '', gen_random_uuid())"


def test_idempotency_key_is_unique_per_user_and_printable(owner: psycopg.Connection, make: Make) -> None:
    lin, kofi = make.user(), make.user()
    for user in (lin, kofi):
        owner.execute(KEY_ROW.encode(), [user.uuid, "k" * 255])

    assert_violates(owner, "idempotency_keys_pkey", KEY_ROW, lin.uuid, "k" * 255)
    for key in ("", "k" * 256, "é", "a\n"):
        assert_violates(owner, "idempotency_keys_key_check", KEY_ROW, lin.uuid, key)


def test_service_cannot_delete_or_change_messages_and_keys(subtests: pytest.Subtests, service_url: str) -> None:
    with psycopg.connect(service_url, autocommit=True) as service:
        for statement in (
            "DELETE FROM messages",
            "UPDATE messages SET message = 'x'",
            "DELETE FROM idempotency_keys",
            "DELETE FROM message_groups",
        ):
            with subtests.test(statement), pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute(statement.encode())


MANY = 10_000
TABLES = ("likes", "reposts")


@pytest.fixture
def popular(make: Make) -> Activity:
    """Create an activity, and as many users who may like it or repost it."""
    activity = make.activity(make.user("author"), "popular")
    make.owner.execute(
        "INSERT INTO users (handle, display_name, cognito_user_id)"
        " SELECT 'fan' || n, 'Fan', 'fan-' || n FROM generate_series(1, %s) AS n",
        [MANY],
    )
    return activity


def updates(make: Make, statement: str, *parameters: object) -> int:
    """Run a statement and return how many rows of `activities` it updated."""
    counter = "SELECT pg_stat_get_xact_tuples_updated('activities'::regclass)"
    with make.owner.transaction():
        before = make.owner.execute(counter).fetchone()
        make.owner.execute(statement.encode(), parameters)
        after = make.owner.execute(counter).fetchone()
    assert before is not None
    assert after is not None
    return int(after[0] - before[0])


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("table", TABLES)
def test_statement_updates_an_activity_once(make: Make, popular: Activity, table: str) -> None:
    fans = "SELECT %s::uuid, uuid FROM users WHERE handle LIKE 'fan%%'"

    assert updates(make, f"INSERT INTO {table} (activity_uuid, user_uuid) {fans}", popular.uuid) == 1
    assert make.miscounted() == []
    assert updates(make, f"DELETE FROM {table} WHERE (activity_uuid, user_uuid) IN ({fans})", popular.uuid) == 1
    assert make.miscounted() == []
    assert updates(make, f"DELETE FROM {table} WHERE activity_uuid = %s", popular.uuid) == 0


@pytest.mark.usefixtures("bystander")
def test_purge_of_a_popular_activity_updates_no_row(make: Make, popular: Activity) -> None:
    for table in TABLES:
        insert = f"INSERT INTO {table} (activity_uuid, user_uuid) SELECT %s, uuid FROM users WHERE handle LIKE 'fan%%'"
        make.owner.execute(insert.encode(), [popular.uuid])
    make.expire(popular)

    assert updates(make, "SELECT purge(1000)") == 0

    assert make.likes(popular) == make.reposts(popular) == []
    assert make.owner.execute("SELECT FROM activities WHERE uuid = %s", [popular.uuid]).fetchall() == []
    assert make.miscounted() == []


@pytest.mark.parametrize("table", TABLES)
def test_reactions_to_an_expired_activity_violate_their_foreign_key(make: Make, table: str) -> None:
    live, expired = make.activity(make.user()), make.activity(make.user(), age="2 hours", ttl="1 hour")

    with pytest.raises(psycopg.errors.ForeignKeyViolation) as refusal:
        insert = f"INSERT INTO {table} (activity_uuid, user_uuid) SELECT uuid, user_uuid FROM activities"
        make.owner.execute(insert.encode())

    assert refusal.value.diag.constraint_name == f"{table}_activity_uuid_fkey"
    assert make.reactions(table, live) == make.reactions(table, expired) == []
    assert make.miscounted() == []
