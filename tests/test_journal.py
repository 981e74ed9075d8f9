"""bin/db-migrate on a database of the project's journal: every row is kept, or nothing changes."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from flask import Flask
from psycopg.conninfo import make_conninfo

from app import create_app
from harness.postgres import rows
from lib.checks import SCHEMA
from lib.command_errors import CommandError
from lib.config import Config
from ops.create_database import ROLE
from ops.journal import failures_named
from ops.journal_rows import STAND_IN, JournalUser, divide, new_users
from tests import settings, tokens
from tests.conftest import FRONTEND, SERVICE_PASSWORD
from tests.in_process import fails, script, succeeds
from tests.journal import (
    AWKWARD_USERS,
    FIRST,
    LAST,
    SUBS,
    TEXT,
    VERSIONS,
    Post,
    Row,
    activity_uuid,
    awkward_posts,
    create_tables,
    insert,
    journal_database,
    user_uuid,
)
from tests.schema_dump import dump

pytestmark = pytest.mark.slow

ACTIVITIES = """
    SELECT uuid, message, reply_to_activity_uuid, replies_count, created_at, expires_at
    FROM activities
"""
Migrated = dict[UUID, tuple[str, UUID | None, int, datetime, datetime | None]]


def migrated(connection: psycopg.Connection) -> Migrated:
    """Return the activities by their uuid."""
    return {uuid: tuple(values) for uuid, *values in connection.execute(ACTIVITIES)}


def whole(found: Migrated, uuid: UUID) -> str:
    """Return the message of an activity, with its continuation in replies that the journal did not have."""
    known = {post.uuid for post in awkward_posts(TEXT)}
    following = [other for other, values in found.items() if values[1] == uuid and other not in known]
    return found[uuid][0] + "".join(whole(found, other) for other in following)


def squeezed(text: str) -> str:
    """Return a text without blank characters."""
    return re.sub("[\x01-\x20\x7f-\xa0]", "", text)


@pytest.fixture
def awkward(empty_url: str) -> Iterator[psycopg.Connection]:
    """Yield a connection to a database of the journal's last version that has been migrated."""
    with journal_database(empty_url, LAST) as connection:
        succeeds("db-migrate", CONNECTION_URL=empty_url)
        connection.execute("SET timezone TO 'UTC'")
        yield connection


@pytest.mark.parametrize("version", VERSIONS)
def test_every_row_of_each_version_is_kept(empty_url: str, version: str) -> None:
    posts = awkward_posts(version)
    with journal_database(empty_url, version) as connection:
        output = succeeds("db-migrate", CONNECTION_URL=empty_url)

        assert f"the journal's {len(AWKWARD_USERS)} users and {len(posts)} activities become rows" in output
        assert output.splitlines()[-1].endswith(f"schema {SCHEMA} is the newest")
        found = migrated(connection)
        for post in posts:
            message = whole(found, post.uuid)
            if not squeezed(post.message):
                assert message == "\ufffd"
            elif len(message) < len(post.message):
                assert (squeezed(message), post.number) == (squeezed(post.message), 10)
            else:
                assert message == post.message
        authors = dict(connection.execute("SELECT uuid, user_uuid FROM activities").fetchall())
        assert {post.uuid: authors[post.uuid] for post in posts} == {post.uuid: user_uuid(post.user) for post in posts}
        users = dict(connection.execute("SELECT uuid, email FROM users").fetchall())
        assert users == {
            **{row.uuid: None if version == FIRST else f"{row.number}@example.com" for row in AWKWARD_USERS},
            **{user_uuid(number): None for number in (98, 99)},
        }


@pytest.mark.parametrize("version", VERSIONS)
def test_schema_is_that_of_a_new_database(empty_url: str, owner_url: str, version: str) -> None:
    with journal_database(empty_url, version) as connection:
        output = succeeds("db-migrate", CONNECTION_URL=empty_url)

        # The other tables stay.
        named = "  tables that stay as they are: schema_information\n"
        assert (named in output) == (version in {TEXT, LAST})
        if version in {TEXT, LAST}:
            assert connection.execute("SELECT * FROM schema_information").fetchall() == [(1, "1681152861")]
            connection.execute("DROP TABLE schema_information")
    assert dump(empty_url) == dump(owner_url)
    assert succeeds("db-migrate", CONNECTION_URL=empty_url).endswith(f": schema {SCHEMA} is the newest\n")


def test_times_are_utc(awkward: psycopg.Connection) -> None:
    found = migrated(awkward)

    def times(number: int) -> tuple[datetime, datetime | None]:
        return found[activity_uuid(number)][3:]

    spring = datetime(2023, 3, 26, 2, 30, tzinfo=UTC)
    end_of_time = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert times(1) == (spring, None)
    assert times(11) == (spring, spring)
    assert times(12) == (spring, None)
    assert times(14) == (datetime(1, 1, 1, tzinfo=UTC),) * 2
    assert times(15) == (end_of_time, end_of_time)
    assert times(16) == (spring, datetime(2099, 3, 29, 2, 30, tzinfo=UTC))
    ((created_at,),) = awkward.execute("SELECT created_at FROM users WHERE uuid = %s", [user_uuid(4)]).fetchall()
    assert created_at == datetime(2023, 3, 12, 2, 30, 0, 1, tzinfo=UTC)


def test_times_that_cannot_stay_are_listed(empty_url: str) -> None:
    with journal_database(empty_url, LAST):
        output = succeeds("db-migrate", CONNECTION_URL=empty_url)

    assert "times outside of the years 1 to 9999, and ends before the creation: 7\n" in output
    for uuid, change in {
        user_uuid(18): "users.created_at  infinity -> 9999-12-31 23:59:59",
        user_uuid(19): "users.created_at  0044-03-15 00:00:00 BC -> 0001-01-01 00:00:00",
        activity_uuid(11): "activities.expires_at  2023-03-26 02:29:59 -> 2023-03-26 02:30:00",
        activity_uuid(14): "activities.created_at  -infinity -> 0001-01-01 00:00:00",
        activity_uuid(15): "activities.expires_at  20000-01-01 00:00:00 -> 9999-12-31 23:59:59",
    }.items():
        assert f"    {uuid}  {change}\n" in output


def test_handles_that_cannot_stay_get_digits_and_are_listed(empty_url: str) -> None:
    with journal_database(empty_url, LAST) as connection:
        output = succeeds("db-migrate", CONNECTION_URL=empty_url)

        handles = dict(connection.execute("SELECT uuid, handle FROM users").fetchall())
    old = {row.uuid: row.handle for row in AWKWARD_USERS}
    kept = {row.number for row in AWKWARD_USERS if handles[row.uuid] == row.handle}
    assert kept == {2, 3, 13, 14, 16, 17, 18}
    stems = {1: "andrewbrown", 4: "BAYKO", 5: "andrewbrown", 6: "londo", 7: "lndo", 8: "user", 9: "h" * 25, 10: "user"}
    stems |= {11: "user", 12: "_deleted_1", 15: "h" * 25, 19: "bester", 98: "user", 99: "user"}
    for number, stem in stems.items():
        assert re.fullmatch(f"{stem}_[0-9a-f]{{4}}", handles[user_uuid(number)])
    for line in (
        rf'{user_uuid(1)}  "andrewbrown" -> "andrewbrown_[0-9a-f]{{4}}"',
        rf'{user_uuid(8)}  "\\u540d\\u524d" -> "user_[0-9a-f]{{4}}"',
        rf'{user_uuid(11)}  null -> "user_[0-9a-f]{{4}}"',
        rf"{user_uuid(99)}  {handles[user_uuid(99)]}",
    ):
        assert re.search(rf"^    {line}$", output, re.MULTILINE), line
    listed = re.findall(r'^    (\S+)  (".*"|null) -> "(\w+_[0-9a-f]{4})"$', output, re.MULTILINE)
    assert {uuid for uuid, *_ in listed} >= {str(uuid) for uuid in old if handles[uuid] != old[uuid]}


def test_renamed_handles_stay_the_same_in_each_run(empty_url: str) -> None:
    def handles() -> list[tuple[object, ...]]:
        with psycopg.connect(empty_url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        with journal_database(empty_url, LAST) as connection:
            succeeds("db-migrate", CONNECTION_URL=empty_url)
            return connection.execute("SELECT uuid, handle FROM users ORDER BY uuid").fetchall()

    assert handles() == handles()


@pytest.mark.slow
def test_users_with_one_handle_beyond_all_short_suffixes() -> None:
    many = [JournalUser(UUID(int=n), None, None, None, "MOCK", is_missing=False) for n in range(70_000)]

    found = new_users(many)

    assert len({user.handle for user in found}) == len(many)
    assert Counter(len(user.handle) for user in found).keys() == {len("user_0000"), len("user_00000000")}


def test_other_values_of_users_change_only_where_they_must(awkward: psycopg.Connection) -> None:
    found = {
        row[0]: row[1:]
        for row in awkward.execute("SELECT uuid, handle, display_name, bio, cognito_user_id FROM users").fetchall()
    }
    names = {row.uuid: row.display_name for row in AWKWARD_USERS}
    names |= {user_uuid(number): found[user_uuid(number)][0] for number in (10, 11, 12, 98, 99)}
    names |= {user_uuid(6): "Londo Mollari", user_uuid(13): "n" * 50}
    assert {uuid: name for uuid, (_, name, *_) in found.items()} == names
    bios = [found[user_uuid(number)][2] for number in (1, 14, 15)]
    assert bios == [None, "b" * 160, "b" * 160]
    subs = {uuid: sub for uuid, (*_, sub) in found.items()}
    assert {uuid: sub for uuid, sub in subs.items() if not sub.startswith(STAND_IN)} == {
        user_uuid(3): SUBS[0],
        user_uuid(14): SUBS[1],
    }
    assert all(sub == f"{STAND_IN}{uuid}" for uuid, sub in subs.items() if sub.startswith(STAND_IN))


@pytest.mark.parametrize("version", [TEXT, LAST])
def test_replies_are_connected_where_their_parent_exists(empty_url: str, version: str) -> None:
    with journal_database(empty_url, version) as connection:
        output = succeeds("db-migrate", CONNECTION_URL=empty_url)

        found = migrated(connection)
        assert connection.execute(MISCOUNTED).fetchall() == []
    posts = {post.uuid: post for post in awkward_posts(version)}
    parents = dict.fromkeys((20, 22, 33), 2) | {21: 20, 24: 25, 26: 24, 27: 26, 29: 13, 30: 16, 31: 16, 32: 31}
    parents |= {34: 7} | ({35: 2} if version == TEXT else {})
    connected = {posts[uuid].number: up for uuid, (_, up, *_) in found.items() if uuid in posts and up}
    assert connected == {number: activity_uuid(up) for number, up in parents.items()}
    # A reply may be longer than another activity.
    assert found[activity_uuid(21)][0] == posts[activity_uuid(21)].message
    unknown = {23, 28, *((36, 37) if version == TEXT else ())}
    listed = re.search(r"replies to no activity of the table[^\n]*: (\d+)\n((?:    \S+\n)*)", output)
    assert listed is not None
    assert (int(listed[1]), set(listed[2].split())) == (
        len(unknown),
        {str(activity_uuid(number)) for number in unknown},
    )
    assert f"become activities of their own: 1\n    {activity_uuid(25)}\n" in output


def test_reply_ends_with_its_parent_at_the_latest(awkward: psycopg.Connection) -> None:
    found = migrated(awkward)
    ends = {number: found[activity_uuid(number)][4] for number in (20, 29, 30, 31, 32, 33)}

    assert ends == {
        20: None,
        29: datetime(2023, 5, 1, tzinfo=UTC),
        30: datetime(2099, 3, 29, 2, 30, tzinfo=UTC),
        31: datetime(2098, 12, 31, tzinfo=UTC),
        32: datetime(2098, 12, 31, tzinfo=UTC),
        33: datetime(2023, 4, 1, tzinfo=UTC),
    }


# A count of live replies that is wrong.
MISCOUNTED = """
    SELECT uuid FROM activities
    WHERE replies_count <> (
        SELECT count(*) FROM live_activities AS replies WHERE replies.reply_to_activity_uuid = activities.uuid
    )
"""


def test_number_of_a_parent_connects_nothing(empty_url: str) -> None:
    with journal_database(empty_url, FIRST) as connection:
        output = succeeds("db-migrate", CONNECTION_URL=empty_url)

        assert "replies to no activity of the table, which become activities of their own: 2\n" in output
        # The second has 300 characters.
        replies = connection.execute("SELECT length(message) FROM activities WHERE reply_to_activity_uuid IS NOT NULL")
        assert 20 in {length for (length,) in replies}


def test_counts_begin_with_the_rows_behind_them(empty_url: str) -> None:
    with journal_database(empty_url, LAST) as connection:
        output = succeeds("db-migrate", CONNECTION_URL=empty_url)

        assert "counted likes and reposts, which have no rows, and begin at 0: 1 and 2\n" in output
        assert connection.execute("SELECT sum(likes_count), sum(reposts_count) FROM activities").fetchall() == [(0, 0)]


def test_mentions_tags_and_search_texts_are_those_of_the_service(awkward: psycopg.Connection) -> None:
    ((mentions, tags, text),) = awkward.execute(
        "SELECT mentions, tags, search_text FROM activities WHERE uuid = %s", [activity_uuid(2)]
    ).fetchall()

    assert sorted(mentions) == [user_uuid(2), user_uuid(3)]
    assert tags == ["cruddur", "strasse"]
    assert "#strasse" in text
    stored = awkward.execute(
        "SELECT user_uuid FROM mentionings WHERE activity_uuid = %s ORDER BY 1", [activity_uuid(2)]
    )
    assert [user for (user,) in stored] == [user_uuid(2), user_uuid(3)]
    stored = awkward.execute("SELECT tag FROM taggings WHERE activity_uuid = %s ORDER BY 1", [activity_uuid(2)])
    assert [tag for (tag,) in stored] == tags
    # A mention finds the user who has the handle now. That is the author of the second, which does not count.
    ((mentions,),) = awkward.execute("SELECT mentions FROM activities WHERE uuid = %s", [activity_uuid(17)]).fetchall()
    assert mentions == []


def test_expired_rows_are_counted_and_left_to_the_purge(empty_url: str) -> None:
    with journal_database(empty_url, LAST) as connection:
        output = succeeds("db-migrate", CONNECTION_URL=empty_url)

        assert "; 5 activities have expired, and the purge deletes them: bin/db-purge" in output
        # The purge deletes a reply with its parent.
        before = migrated(connection)
        assert "5 activities" in succeeds("db-purge", CONNECTION_URL=empty_url)
        gone = before.keys() - migrated(connection).keys()
        assert gone == {activity_uuid(number) for number in (11, 13, 14, 29, 33)}


@pytest.mark.parametrize(
    ("message", "lengths"),
    [
        ("x" * 280, [280]),
        ("x" * 281, [280, 1]),
        ("x" * 279 + " " * 500, [279]),
        ("x" * (280 + 1024), [280, 1024]),
        ("x" * (280 + 1025), [280, 1024, 1]),
        ("x" * 150 + " " + "y" * 140, [151, 140]),
        ("x" * 100 + " " + "y" * 200, [280, 21]),
        ("x" + " " * 3000 + "y", [280, 674]),
        ("", [1]),
        ("\n" * 999, [1]),
        ("\u200b", [1]),
    ],
)
def test_long_message_is_divided(message: str, lengths: list[int]) -> None:
    parts = divide(message, 280)

    assert [len(part) for part in parts] == lengths
    assert squeezed("".join(parts)).replace("\ufffd", "") == squeezed(message)


def test_old_rows_are_served(awkward: psycopg.Connection, empty_url: str, jwks_url: str) -> None:
    sub = "abcdef01-0000-4000-8000-000000000000"
    succeeds("db-claim-user", "bayko", sub, CONNECTION_URL=empty_url)
    app = service(empty_url, jwks_url)
    client = app.test_client()
    home = client.get("/api/activities/home").json
    assert {shown["message"] for shown in home} >= {"This was imported as seed data!", "far away", "never ends"}
    assert "has ended" not in {shown["message"] for shown in home}
    profile = client.get("/api/activities/@AndrewBrown").json
    assert [shown["message"] for shown in profile["activities"]] == ["This was imported as seed data!"]
    handle = awkward.execute("SELECT handle FROM users WHERE uuid = %s", [user_uuid(1)]).fetchone()
    assert handle is not None
    thread = client.get(f"/api/activities/@{handle[0]}/status/{activity_uuid(2)}").json
    assert thread["activity"]["replies_count"] == len(thread["replies"]) == 2
    assert {shown["handle"] for shown in thread["replies"]} == {handle[0], "bayko"}
    for path in ("/api/activities/tagged/cruddur", "/api/activities/search?term=STRASSE"):
        assert [shown["uuid"] for shown in client.get(path).json] == [str(activity_uuid(2))]

    headers = tokens.bearer(sub)
    posted = client.post("/api/activities", json={"message": "It is me", "ttl": "1-day"}, headers=headers)
    assert (posted.status_code, posted.json["handle"]) == (200, "bayko")
    assert client.get("/api/activities/@bayko").json["activities"][0]["message"] == "It is me"
    mentions = client.get("/api/notifications", headers=headers).json
    assert str(activity_uuid(2)) in str(mentions)
    app.extensions["database_pool"].close()


def service(url: str, jwks_url: str) -> Flask:
    """Return the application on a database, with the service's role."""
    connection_url = make_conninfo(url, user=ROLE, password=SERVICE_PASSWORD)
    limits: dict[str, Any] = settings.UNLIMITED
    return create_app(
        Config(
            connection_url=connection_url,
            frontend_urls=(FRONTEND,),
            **limits,
            **tokens.pool(jwks_url),
        )
    )


DIFFERENCES = {
    "ALTER TABLE users ADD COLUMN age integer": "users.age is unknown",
    "ALTER TABLE users DROP COLUMN handle": "users.handle is missing",
    "ALTER TABLE users ALTER COLUMN handle TYPE varchar(100)": "users.handle is character varying(100), and not text",
    "ALTER TABLE activities ALTER COLUMN created_at TYPE timestamptz": (
        "activities.created_at is timestamp with time zone, and not timestamp without time zone"
    ),
    "ALTER TABLE activities ALTER COLUMN message DROP NOT NULL": "activities.message may be null",
    "ALTER TABLE activities DROP CONSTRAINT activities_pkey": "activities.uuid is no primary key",
    "DROP TABLE activities": "the table activities is missing",
    "ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people": (
        "users.uuid is a column of a view, and not uuid"
    ),
    "CREATE TABLE likes (uuid uuid)": "our schema's names are in use: likes: rename or drop",
    "CREATE VIEW live_messages AS SELECT 1 AS n": "our schema's names are in use: live_messages: rename or drop",
    "CREATE TABLE other (n integer); CREATE INDEX likes_user_idx ON other (n)": "names are in use: likes_user_idx:",
    "CREATE FUNCTION purge(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n'": "names are in use: purge:",
    "CREATE SCHEMA journal": "the database has a schema journal: rename it",
    "CREATE VIEW mine AS SELECT message FROM activities": "a view or a foreign key depends on the journal's tables",
    "CREATE TABLE notes (user_uuid uuid REFERENCES users (uuid))": "a view or a foreign key depends on the journal's",
}


@pytest.mark.parametrize(("change", "said"), DIFFERENCES.items())
def test_other_tables_are_refused_and_left_alone(empty_url: str, change: str, said: str) -> None:
    with journal_database(empty_url, LAST) as connection:
        connection.execute(change.encode())
        before = contents(empty_url)

        result = script("db-migrate", CONNECTION_URL=empty_url)

        assert result.returncode == 1
        assert "nothing was changed" in result.stderr
        assert said in result.stderr
        assert "run bin/db-migrate again" in result.stderr
        assert all(line.startswith("cruddur: ") for line in result.stderr.splitlines())
        assert contents(empty_url) == before


def contents(url: str) -> tuple[str, list[tuple[object, ...]]]:
    """Return the schema of a database, and the rows of its tables."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        found = [
            row
            for (table,) in tables
            for row in connection.execute(f"SELECT t::text FROM public.{table} AS t ORDER BY t::text".encode())
        ]
    return dump(url), found


def test_missing_role_is_named(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.journal_tables.ROLE", "cruddur_nowhere")
    with journal_database(empty_url, LAST):
        before = contents(empty_url)

        line = fails("db-migrate", CONNECTION_URL=empty_url)

        assert "the server has no role cruddur_nowhere: run bin/db-create" in line
        assert contents(empty_url) == before


def test_difference_of_the_rows_undoes_everything(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with journal_database(empty_url, LAST):
        before = contents(empty_url)
        monkeypatch.setattr("ops.journal_rows.divide", lambda _message, _limit: ["?"])

        assert "the new rows differ from the journal's" in fails("db-migrate", CONNECTION_URL=empty_url)
        assert contents(empty_url) == before


def test_journal_in_use_is_left_alone(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.migrate.LOCK_TIMEOUT", "200ms")
    with journal_database(empty_url, LAST), psycopg.connect(empty_url) as writer:
        before = contents(empty_url)
        writer.execute("LOCK TABLE activities IN ROW EXCLUSIVE MODE")

        assert "stop the journal's backend" in fails("db-migrate", CONNECTION_URL=empty_url)
        assert contents(empty_url) == before


def test_deadlock_with_the_journals_backend_changes_nothing(empty_url: str) -> None:
    with journal_database(empty_url, LAST), psycopg.connect(empty_url) as connection:
        before = contents(empty_url)
        with pytest.raises(CommandError, match=r"^nothing was changed: another session uses"), failures_named():
            connection.execute("DO $$ BEGIN RAISE EXCEPTION 'a deadlock' USING ERRCODE = '40P01'; END $$")
        connection.rollback()
        with pytest.raises(CommandError, match=r"^nothing was changed, because .*: no room$"), failures_named():
            connection.execute("DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$")
        connection.rollback()
        assert contents(empty_url) == before


@pytest.mark.parametrize("answer", ["", "cruddur\n"])
def test_production_is_untouched_without_its_name(empty_url: str, answer: str) -> None:
    with journal_database(empty_url, LAST):
        before = contents(empty_url)

        result = script("db-migrate", "prod", answer=answer, PROD_CONNECTION_URL=empty_url)

        assert result.returncode == 1
        # The plan comes before the question.
        assert "become rows of schema" in result.stdout
        assert "nothing was done: the name typed is not" in result.stderr
        assert contents(empty_url) == before


def test_typed_name_confirms_production(empty_url: str) -> None:
    with journal_database(empty_url, LAST) as connection:
        name = connection.info.dbname

        result = script("db-migrate", "prod", answer=f"{name}\n", PROD_CONNECTION_URL=empty_url)

        assert result.returncode == 0
        assert result.stderr.startswith(f"This replaces the journal's tables in {name} on ")
        assert rows(empty_url, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]


def test_empty_tables_become_an_empty_database(empty_url: str, owner_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        create_tables(connection, FIRST)

    output = succeeds("db-migrate", CONNECTION_URL=empty_url)

    assert len(output.splitlines()) == 2
    assert "the journal's 0 users and 0 activities become rows" in output
    assert dump(empty_url) == dump(owner_url)


@pytest.mark.parametrize(
    "use",
    [
        "",
        "CREATE TABLE notes (note citext)",
        # Postgres does not know what a function's text calls.
        "CREATE FUNCTION new_id() RETURNS uuid LANGUAGE plpgsql AS 'BEGIN RETURN uuid_generate_v4(); END'",
    ],
)
def test_extension_goes_unless_another_table_or_function_needs_it(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    # The embedded Postgres has no uuid-ossp.
    monkeypatch.setattr("ops.journal.EXTENSION", "citext")
    with journal_database(empty_url, FIRST) as connection:
        connection.execute("CREATE EXTENSION citext")
        connection.execute(use.encode())

        succeeds("db-migrate", CONNECTION_URL=empty_url)

        stays = connection.execute("SELECT FROM pg_extension WHERE extname = 'citext'").rowcount
        assert bool(stays) == bool(use)


def test_schema_is_not_loaded_beside_the_journals_tables(empty_url: str) -> None:
    with journal_database(empty_url, LAST):
        before = contents(empty_url)

        assert "bin/db-migrate takes the journal's tables" in fails("db-schema-load", CONNECTION_URL=empty_url)
        assert contents(empty_url) == before


def test_reply_of_a_parent_that_ends_during_the_migration(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        create_tables(connection, LAST)
        insert(
            connection, LAST, [Row(1, "kofi")], [Post(1, 1, "ends soon"), Post(2, 1, "a reply", str(activity_uuid(1)))]
        )
        connection.execute(
            "UPDATE activities SET expires_at = now() AT TIME ZONE 'UTC' + interval '1 second' WHERE uuid = %s",
            [activity_uuid(1)],
        )
        monkeypatch.setattr("ops.journal.description", lambda _plan: connection.execute("SELECT pg_sleep(1.5)") and [])

        succeeds("db-migrate", CONNECTION_URL=empty_url)

        assert connection.execute("SELECT message FROM activities ORDER BY uuid").fetchall() == [
            ("ends soon",),
            ("a reply",),
        ]
