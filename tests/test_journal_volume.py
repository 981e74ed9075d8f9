"""bin/db-migrate on 100,000 rows of the project's journal: each is accounted for, and a killed run changes nothing."""

import random
import re
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from subprocess import TimeoutExpired
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from harness.waiting import SECONDS, wait_until
from lib.text import fold, hashtags, mentioned_handles
from tests.journal import LAST, SUBS, activity_uuid, create_tables, user_uuid
from tests.processes import running, script, succeeds
from tests.schema_dump import dump

pytestmark = pytest.mark.slow

USERS, ACTIVITIES = 10_000, 100_000
# The longest that the migration may take, on two cores that others use too.
MOST_SECONDS = 120
KILLS = 10
WORDS = [
    "crud",
    "lorem",
    "ipsum",
    "👩\u200d🚀",
    "#Cruddur",
    "#Über",
    "@user7",
    "@user4321",
    "漢字",
    "لو",
    "https://example.com/#x",
]
SESSIONS = (
    "SELECT FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


def fill(connection: Connection, users: int, activities: int) -> None:
    """Create the tables of the last version, with generated rows: a part of each kind is awkward."""
    create_tables(connection, LAST)
    chance = random.Random(23)
    start = datetime(2023, 1, 1)
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY users (uuid, handle, display_name, cognito_user_id, email, bio, created_at) FROM STDIN"
        ) as copy,
    ):
        for n in range(users):
            handle = chance.choices([f"user{n}", f"User{n // 2}", f"user {n}", None, "x" * 40], [90, 4, 2, 2, 2])[0]
            sub = chance.choices(["MOCK", f"{n:08x}{SUBS[0][8:]}", None], [8, 1, 1])[0]
            copy.write_row(
                [user_uuid(n), handle, f"User {n}", sub, f"{n}@example.com", None, start + timedelta(minutes=n)]
            )
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY activities (uuid, user_uuid, message, reply_to_activity_uuid, expires_at, created_at) FROM STDIN"
        ) as copy,
    ):
        for n in range(activities):
            words = chance.choices(WORDS, k=chance.choices([chance.randint(1, 12), 200, 0], [97, 2, 1])[0])
            parent = chance.choices([None, chance.randrange(activities), activities + n], [70, 29, 1])[0]
            created = start + timedelta(seconds=chance.randrange(10**8), microseconds=chance.randrange(10**6))
            ends = chance.choices([None, created + timedelta(days=30), created + timedelta(days=30_000)])[0]
            author = user_uuid(chance.randrange(users + 20))
            text = " ".join(words) + f" {n}" if words else " "
            copy.write_row(
                [activity_uuid(n), author, text, None if parent is None else activity_uuid(parent), ends, created]
            )


def checksum(values: Iterable[tuple[Any, ...]]) -> tuple[int, int]:
    """Return the number of rows, and a sum of their hashes, which does not depend on their order."""
    count = total = 0
    for row in values:
        count += 1
        total += int.from_bytes(sha256(repr(row).encode()).digest())
    return count, total % 2**256


def utc(time: datetime | None) -> datetime | None:
    """Return a time of the journal's as that of the zone UTC."""
    return time and time.replace(tzinfo=UTC)


class Journal:
    """The rows of the journal and their expected successors, computed from them alone and by other code."""

    def __init__(self, connection: Connection) -> None:
        self.users = connection.execute("SELECT uuid, display_name, email, created_at FROM users").fetchall()
        self.handles: dict[UUID, str] = dict(connection.execute("SELECT uuid, handle FROM users").fetchall())
        self.posts = {
            uuid: tuple(values)
            for uuid, *values in connection.execute(
                "SELECT uuid, user_uuid, message, created_at, expires_at, reply_to_activity_uuid FROM activities"
            )
        }

    def user_rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield what stays of each user."""
        return ((uuid, name, email, utc(created)) for uuid, name, email, created in self.users)

    def post_rows(self, cut: set[UUID]) -> Iterator[tuple[Any, ...]]:
        """Yield what stays of each activity. The replies of `cut` have no parent, to open circles."""
        for uuid, (author, message, created, _, parent) in self.posts.items():
            connected = parent if parent in self.posts and parent != uuid and uuid not in cut else None
            yield uuid, author, message.strip() and message, utc(created), connected

    def ends(self, parents: dict[UUID, UUID]) -> dict[UUID, datetime | None]:
        """Return the end of each activity: no reply outlives the activities above it."""

        def end(uuid: UUID) -> datetime | None:
            own = [utc(self.posts[uuid][3])]
            up = uuid
            while up in parents:
                up = parents[up]
                own.append(utc(self.posts[up][3]))
            first = min((time for time in own if time), default=None)
            created = utc(self.posts[uuid][2])
            assert created is not None
            return first and max(first, created)

        return {uuid: end(uuid) for uuid in self.posts}


def test_each_of_100_000_rows_is_accounted_for(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        fill(connection, USERS, ACTIVITIES)
        journal = Journal(connection)
        begun = time.monotonic()
        output = succeeds("db-migrate", CONNECTION_URL=empty_url)
        seconds = time.monotonic() - begun
        print(f"{USERS:,} users and {ACTIVITIES:,} activities migrated in {seconds:.1f} s")
        assert seconds < MOST_SECONDS
        connection.execute("SET timezone TO 'UTC'")

        found = Migrated(connection, journal.posts.keys())
        assert checksum(found.user_rows(journal)) == checksum(journal.user_rows())
        cut = {UUID(uuid) for uuid in section(output, "replies in a circle")}
        assert checksum(found.post_rows()) == checksum(journal.post_rows(cut))
        assert {uuid: row["expires_at"] for uuid, row in found.posts.items()} == journal.ends(found.parents())

        listed = dict(re.findall(r'^    (\S+)  (?:".*"|null) -> "(\w+_[0-9a-f]{4,8})"$', output, re.MULTILINE))
        renamed = {str(uuid): handle for uuid, handle in found.handles.items() if journal.handles.get(uuid) != handle}
        placeholders = {str(uuid): renamed.pop(str(uuid)) for uuid in found.handles.keys() - journal.handles.keys()}
        assert {uuid: listed[uuid] for uuid in renamed} == renamed
        assert dict(line.split("  ") for line in section(output, "new users")) == placeholders
        assert len(placeholders) == 20
        found.check_derived_values(connection)


def section(output: str, title: str) -> list[str]:
    """Return the lines below a title of the description."""
    match = re.search(rf"^  {title}[^\n]*: ([\d,]+)\n((?:    [^\n]*\n)*)", output, re.MULTILINE)
    if match is None:
        return []
    lines = [line.strip() for line in match[2].splitlines()]
    assert len(lines) == int(match[1].replace(",", ""))
    return lines


class Migrated:
    """The rows after the migration."""

    def __init__(self, connection: Connection, known: Iterable[UUID]) -> None:
        columns = ["uuid", "user_uuid", "message", "created_at", "expires_at", "reply_to_activity_uuid", "search_text"]
        columns += ["mentions", "tags", "replies_count"]
        self.all = {
            row[0]: dict(zip(columns, row, strict=True))
            for row in connection.execute(f"SELECT {', '.join(columns)} FROM activities".encode())
        }
        self.posts = {uuid: self.all[uuid] for uuid in known}
        self.next = {row["reply_to_activity_uuid"]: row for uuid, row in self.all.items() if uuid not in self.posts}
        self.users = connection.execute("SELECT uuid, display_name, email, created_at FROM users").fetchall()
        self.handles: dict[UUID, str] = dict(connection.execute("SELECT uuid, handle FROM users").fetchall())

    def user_rows(self, journal: Journal) -> Iterator[tuple[Any, ...]]:
        """Yield what stayed of each user that the journal had."""
        return (row for row in self.users if row[0] in journal.handles)

    def post_rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield what stayed of each activity that the journal had. The message has its continuations."""
        for uuid, row in self.posts.items():
            message, part = row["message"], row
            while part["uuid"] in self.next:
                part = self.next[part["uuid"]]
                assert (part["user_uuid"], part["created_at"]) == (row["user_uuid"], row["created_at"])
                message += part["message"]
            text = "" if message == "\ufffd" else message
            yield uuid, row["user_uuid"], text, row["created_at"], row["reply_to_activity_uuid"]

    def parents(self) -> dict[UUID, UUID]:
        """Return the parents of the replies that the journal had."""
        up = {uuid: row["reply_to_activity_uuid"] for uuid, row in self.posts.items()}
        return {uuid: parent for uuid, parent in up.items() if parent}

    def check_derived_values(self, connection: Connection) -> None:
        """Compare the texts for search, the mentions, the hashtags and the counts with those of the service."""
        by_handle = {handle.lower(): uuid for uuid, handle in self.handles.items()}
        live: dict[UUID, int] = defaultdict(int)
        now = datetime.now(UTC)
        for row in self.all.values():
            message, author = row["message"], row["user_uuid"]
            mentions = {by_handle[name] for name in mentioned_handles(message) if name in by_handle} - {author}
            derived = (fold(message), mentions, hashtags(message))
            assert (row["search_text"], set(row["mentions"]), row["tags"]) == derived
            if row["expires_at"] is None or row["expires_at"] > now:
                live[row["reply_to_activity_uuid"]] += 1
        assert {uuid: row["replies_count"] for uuid, row in self.all.items()} == {uuid: live[uuid] for uuid in self.all}
        stored = connection.execute("SELECT activity_uuid, user_uuid, created_at, expires_at FROM mentionings")
        assert checksum(stored) == checksum(
            (uuid, user, row["created_at"], row["expires_at"])
            for uuid, row in self.all.items()
            for user in row["mentions"]
        )
        stored = connection.execute("SELECT activity_uuid, tag, user_uuid, created_at, expires_at FROM taggings")
        assert checksum(stored) == checksum(
            (uuid, tag, row["user_uuid"], row["created_at"], row["expires_at"])
            for uuid, row in self.all.items()
            for tag in row["tags"]
        )


def test_killed_migration_changes_nothing(empty_url: str, owner: Connection) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        fill(connection, USERS // 10, ACTIVITIES // 10)
        name = connection.info.dbname
    copy = f"{name}_copy"
    url = make_conninfo(empty_url, dbname=copy)
    before = journal_checksum(empty_url)
    chance = random.Random(9)
    stages: set[tuple[float, bool]] = set()
    try:
        renew(owner, copy, name)
        begun = time.monotonic()
        succeeds("db-migrate", CONNECTION_URL=url)
        whole = time.monotonic() - begun
        renew(owner, copy, name)
        while len(stages) < KILLS:
            stage = killed_after(url, chance.uniform(0, whole))
            wait_until(lambda: not owner.execute(SESSIONS, [copy]).rowcount, "the end of the killed session")
            if stage is None or is_taken_over(url):
                # This run was faster than the first, and ended or was killed after its commit.
                renew(owner, copy, name)
            else:
                stages.add(stage)
                assert journal_checksum(url) == before
        # Runs were killed before and after the plan was printed.
        assert {planned for _, planned in stages} == {False, True}
        assert "10,000 activities taken over" in succeeds("db-migrate", CONNECTION_URL=url)
    finally:
        owner.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)".encode())


def test_concurrent_migrations_take_the_tables_over_once(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        fill(connection, USERS // 10, ACTIVITIES // 100)
    with ThreadPoolExecutor(3) as pool:
        outputs = list(pool.map(lambda _: script("db-migrate", CONNECTION_URL=empty_url), range(3)))

    assert [output.returncode for output in outputs] == [0] * 3
    taken = ["1,000 activities taken over" in output.stdout for output in outputs]
    assert sorted(taken) == [False, False, True]


def renew(owner: Connection, copy: str, original: str) -> None:
    """Make the database `copy` a copy of another again."""
    owner.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)".encode())
    owner.execute(f"CREATE DATABASE {copy} TEMPLATE {original}".encode())


def killed_after(url: str, seconds: float) -> tuple[float, bool] | None:
    """Kill a migration after a time. Return the time, and whether the plan was printed; `None` after its end."""
    with running("db-migrate", CONNECTION_URL=url) as command:
        with suppress(TimeoutExpired):
            command.wait(seconds)
        command.kill()
        output, errors = command.communicate(timeout=SECONDS)
        assert command.returncode in {0, -signal.SIGKILL}, errors
        return (seconds, bool(output)) if command.returncode else None


def is_taken_over(url: str) -> bool:
    """Return whether a migration was committed, with each of the journal's activities."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL").fetchone()
        if row is None or not row[0]:
            return False
        (count,) = connection.execute("SELECT count(*) FROM activities").fetchone() or (0,)
        assert count >= ACTIVITIES // 10
        return True


def journal_checksum(url: str) -> tuple[str, tuple[int, int], tuple[int, int]]:
    """Return the schema, and a checksum of each of the journal's tables."""
    with psycopg.connect(url) as connection:
        users = checksum(connection.execute("SELECT * FROM public.users"))
        return dump(url), users, checksum(connection.execute("SELECT * FROM public.activities"))
