"""The database's own rules."""

from uuid import uuid4

import psycopg
import pytest

from ops.command import Database
from ops.create import create
from tests.conftest import Make

MESSAGE_CHARS, REPLY_CHARS = 280, 1024


def refuses(owner: psycopg.Connection, constraint: str, statement: str, *parameters: object) -> None:
    """Expect that `constraint` keeps a statement from happening."""
    with pytest.raises(psycopg.errors.IntegrityError) as refusal:
        owner.execute(statement.encode(), parameters)
    assert refusal.value.diag.constraint_name == constraint


USER = "INSERT INTO users (handle, display_name, cognito_user_id, bio) VALUES (%s, %s, %s, %s)"


@pytest.mark.parametrize("handle", ["a", "A_9", "a" * 30])
def test_a_handle_is_of_thirty_word_characters_at_most(owner: psycopg.Connection, handle: str) -> None:
    owner.execute(USER, [handle, "Name", "sub", None])


@pytest.mark.parametrize("handle", ["", "a" * 31, "a b", "é", "a\n", "@a", "a-b"])
def test_any_other_handle_is_refused(owner: psycopg.Connection, handle: str) -> None:
    refuses(owner, "users_handle_check", USER, handle, "Name", "sub", None)


def test_a_handle_and_a_sub_are_one_persons(owner: psycopg.Connection) -> None:
    owner.execute(USER, ["LinYue", "Lin", "sub", None])

    refuses(owner, "users_handle_key", USER, "LINYUE", "Other", "sub2", None)
    refuses(owner, "users_cognito_user_id_key", USER, "other", "Other", "sub", None)


def test_names_and_bios_have_their_limits(owner: psycopg.Connection) -> None:
    owner.execute(USER, ["a", "é" * 50, "sub", "é" * 160])

    refuses(owner, "users_display_name_check", USER, "b", "é" * 51, "sub2", None)
    refuses(owner, "users_display_name_check", USER, "b", " \t\n", "sub2", None)
    refuses(owner, "users_bio_check", USER, "b", "Name", "sub2", "é" * 161)


ACTIVITY_ROW = "INSERT INTO activities (user_uuid, message) VALUES (%s, %s)"
REPLY_ROW = """
    INSERT INTO activities (user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid) VALUES (%s, %s, %s, %s)
"""


def test_messages_have_their_limits(owner: psycopg.Connection, make: Make) -> None:
    author = make.user()
    parent = make.activity(author, "é" * MESSAGE_CHARS)
    make.activity(author, "é" * REPLY_CHARS, reply_to=parent)
    reply = (parent.uuid, author.uuid)

    refuses(owner, "activities_message_check", ACTIVITY_ROW, author.uuid, "é" * (MESSAGE_CHARS + 1))
    refuses(owner, "activities_message_check", ACTIVITY_ROW, author.uuid, " \t\r\n ")
    refuses(owner, "activities_message_check", REPLY_ROW, author.uuid, "é" * (REPLY_CHARS + 1), *reply)
    refuses(owner, "activities_reply_to_check", REPLY_ROW, author.uuid, "hello", parent.uuid, None)
    refuses(owner, "activities_reply_to_check", REPLY_ROW, author.uuid, "hello", None, author.uuid)
    refuses(owner, "activities_reply_to_activity_uuid_fkey", REPLY_ROW, author.uuid, "hello", uuid4(), author.uuid)
    refuses(owner, "activities_user_uuid_fkey", ACTIVITY_ROW, uuid4(), "hello")
    refuses(owner, "activities_expires_at_check", "UPDATE activities SET expires_at = created_at")
    refuses(owner, "activities_counts_check", "UPDATE activities SET likes_count = -1")


def counts(owner: psycopg.Connection) -> dict[str, int]:
    """Each activity's replies, by its message."""
    return dict(owner.execute("SELECT message, replies_count FROM activities").fetchall())


def test_replies_are_counted_when_they_come_and_when_they_go(owner: psycopg.Connection, make: Make) -> None:
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


@pytest.mark.parametrize(
    "statement",
    [
        *("CREATE TABLE mine (n integer)", "CREATE TEMPORARY TABLE mine (n integer)", "CREATE SCHEMA mine"),
        *("DROP TABLE activities", "TRUNCATE activities", "ALTER TABLE users ADD COLUMN n integer"),
        *("DELETE FROM alembic_version", "CREATE ROLE another", "COPY users TO '/tmp/stolen'"),
        *("SET ROLE postgres", "ALTER ROLE cruddur_service SUPERUSER", "CREATE DATABASE another"),
    ],
)
def test_the_services_role_can_do_nothing_but_read_and_write_rows(
    owner_url: str, service_url: str, statement: str
) -> None:
    create(Database("CONNECTION_URL", owner_url))

    with psycopg.connect(service_url, autocommit=True) as service:
        service.execute("UPDATE users SET bio = NULL")
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)):
            service.execute(statement.encode())


def test_the_services_role_has_its_limits_and_its_time_zone(service_url: str) -> None:
    with psycopg.connect(service_url) as service:
        limits = "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone"
        shown = [service.execute(f"SHOW {name}".encode()).fetchone() for name in limits]

    assert shown == [("2s",), ("1s",), ("5s",), ("UTC",)]
