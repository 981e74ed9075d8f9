"""The purge: expired rows are deleted in batches, and nothing else."""

import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from harness.collector import Collector
from harness.postgres import rows
from harness.waiting import wait_until
from lib import purge as purging
from lib.purge import BATCH, LOCK, SMALLEST_BATCH, Purge, Purged, purge_batch, purge_forever
from tests import processes
from tests.clock import Clock
from tests.factories import Activity, Make, User
from tests.in_process import succeeds
from tests.service import serving
from tests.telemetry import flush, watched


def purge(owner_url: str, succeeds: Callable[..., str] = succeeds) -> tuple[int, int, int]:
    """Run bin/db-purge, and return the numbers of activities, messages and idempotency keys that it reports."""
    output = succeeds("db-purge", CONNECTION_URL=owner_url)
    match = re.fullmatch(r"database .*: (\d+) activities, (\d+) messages and (\d+) idempotency keys deleted\n", output)
    return int(match[1]), int(match[2]), int(match[3])


@pytest.fixture
def service(service_url: str) -> Iterator[Connection]:
    """Connect as the service's role."""
    with psycopg.connect(service_url, autocommit=True) as connection:
        yield connection


def test_purge_deletes_expired_activities_only(owner_url: str, make: Make) -> None:
    author = make.user()
    for _ in range(BATCH + 1):
        make.activity(author, "expired", age="1 hour", ttl="1 hour")
    parent = make.activity(author, "expired", age="3 hours", ttl="2 hours")
    make.activity(author, "expired", age="2 hours", ttl="1 hour", reply_to=parent)
    live = make.activity(author, "bystander", age="1 hour", ttl="2 hours")
    make.activity(author, "bystander", age="1 hour", ttl="2 hours", reply_to=live)
    make.activity(author, "bystander", ttl=None)

    assert purge(owner_url) == (BATCH + 3, 0, 0)

    remaining = rows(owner_url, "SELECT message, replies_count FROM activities ORDER BY replies_count")
    assert remaining == [("bystander", 0), ("bystander", 0), ("bystander", 1)]


def test_purge_skips_locked_rows(owner_url: str, make: Make) -> None:
    author = make.user()
    make.activity(author, "free", age="1 hour", ttl="1 hour")
    locked = make.activity(author, "locked", age="1 hour", ttl="1 hour")
    # Deleting the parent would delete its reply too.
    parent = make.activity(author, "parent of a locked one", age="1 hour", ttl="1 hour")
    reply = make.activity(author, "locked", age="59 minutes", ttl="59 minutes", reply_to=parent)

    with make.owner.transaction():
        make.owner.execute("SELECT FROM activities WHERE uuid = ANY (%s) FOR UPDATE", [[locked.uuid, reply.uuid]])
        assert purge(owner_url) == (1, 0, 0)

    remaining = rows(owner_url, "SELECT message FROM activities ORDER BY message")
    assert remaining == [("locked",), ("locked",), ("parent of a locked one",)]


@pytest.mark.slow
def test_concurrent_purges_take_turns(owner_url: str, make: Make) -> None:
    author = make.user()
    make.owner.execute(
        """
        WITH parents AS (
            INSERT INTO activities (user_uuid, message, created_at, expires_at)
            SELECT %s, 'expired', now() - interval '1 day', now() - n * interval '1 second'
            FROM generate_series(1, 2500) AS n
            RETURNING uuid, user_uuid, created_at, expires_at
        )
        INSERT INTO activities (
            user_uuid, message, reply_to_activity_uuid, reply_to_user_uuid, created_at, expires_at
        )
        SELECT user_uuid, 'expired', uuid, user_uuid, created_at, expires_at FROM parents, generate_series(1, 4)
        """,
        [author.uuid],
    )
    make.activity(author, "bystander", reply_to=make.activity(author, "bystander"))

    with ThreadPoolExecutor() as pool:
        purged = list(pool.map(lambda _: purge(owner_url, processes.succeeds), range(3)))

    assert sum(activities for activities, *_ in purged) == 5 * 2500
    assert rows(owner_url, "SELECT message FROM activities") == [("bystander",)] * 2


def test_purge_runs_one_transaction_at_a_time(service: Connection, owner: Connection, make: Make) -> None:
    make.activity(make.user(), age="1 hour", ttl="1 hour")
    with owner.transaction():
        owner.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        assert purge_batch(service) is None

    assert purge_batch(service) == Purged(1, 0, 0, 0, None)


def chain(make: Make, author: User, length: int, *, age: str, ttl: str) -> list[Activity]:
    """Create a thread in which each activity replies to the previous one, all with the same times."""
    links = [make.activity(author, "0", age=age, ttl=ttl)]
    for number in range(1, length):
        links.append(make.activity(author, str(number), reply_to=links[-1], age=age, ttl=ttl))
    return links


def test_batch_never_cascades_beyond_its_size(service: Connection, make: Make) -> None:
    # Parents come first in the order of expiry here, before their replies.
    links = chain(make, make.user(), 30, age="1 hour", ttl="1 hour")
    deleted = []
    while batch := purge_batch(service, 7):
        if not batch.is_busy:
            break
        deleted.append(batch.activities)

    assert sum(deleted) == len(links)
    assert max(deleted) <= 7
    assert messages_left(make) == []


def messages_left(make: Make) -> list[str]:
    """Return the messages of all activities."""
    return [message for (message,) in make.owner.execute("SELECT message FROM activities")]


@pytest.fixture
def popular(make: Make) -> Callable[[int, int], Activity]:
    """Return a function that creates an expired activity with so many likes and reposts."""
    make.owner.execute(
        "INSERT INTO users (handle, display_name, cognito_user_id)"
        " SELECT 'fan' || n, 'Fan', 'fan-' || n FROM generate_series(1, 250) AS n"
    )

    def create(likes: int, reposts: int) -> Activity:
        activity = make.activity(make.user())
        for table, count in (("likes", likes), ("reposts", reposts)):
            insert = f"""
                INSERT INTO {table} (activity_uuid, user_uuid)
                SELECT %s, uuid FROM users WHERE handle LIKE 'fan%%' ORDER BY handle LIMIT %s
            """
            make.owner.execute(insert.encode(), [activity.uuid, count])
        make.expire(activity)
        return activity

    return create


@pytest.mark.usefixtures("bystander")
def test_batch_deletes_a_bounded_number_of_likes_and_reposts(
    service: Connection, popular: Callable[[int, int], Activity]
) -> None:
    for likes, reposts in ((150, 0), (0, 50), (30, 70), (100, 0), (0, 1)):
        popular(likes, reposts)

    # A batch of so many activities has 100 times as many likes and reposts together.
    batches = [purge_batch(service, 2) for _ in range(4)]

    assert [batch and (batch.activities, batch.ended) for batch in batches] == [(2, 0), (2, 0), (1, 0), (0, 0)]
    for likes, reposts in ((80, 70), (1, 50)):
        popular(likes, reposts)
    batches = [purge_batch(service, 2) for _ in range(3)]
    assert [batch and (batch.activities, batch.ended) for batch in batches] == [(1, 0), (1, 0), (0, 0)]


@pytest.mark.usefixtures("bystander")
def test_likes_and_reposts_of_a_popular_activity_are_purged_first(
    service: Connection, make: Make, popular: Callable[[int, int], Activity]
) -> None:
    first, other = popular(120, 130), popular(1, 0)

    for remaining in ((20, 130), (0, 50)):
        batch = purge_batch(service, 1)
        assert batch is not None
        assert (batch.activities, batch.ended) == (0, 100)
        assert (len(make.likes(first)), len(make.reposts(first))) == remaining
        assert make.miscounted() == []
    assert len(make.likes(other)) == 1
    batches = [purge_batch(service, 1) for _ in range(3)]

    assert [batch and (batch.activities, batch.ended) for batch in batches] == [(1, 0), (1, 0), (0, 0)]
    assert make.likes(first) == make.reposts(first) == make.likes(other) == []


def test_reply_to_an_expired_activity_is_expired_and_purged(service: Connection, make: Make) -> None:
    author = make.user()
    expired = make.activity(author, "expired", age="2 hours", ttl="1 hour")
    # A state that COPY can create. The service gives a reply its parent's expiry.
    make.owner.execute("ALTER TABLE activities DISABLE TRIGGER activities_reply_made")
    reply = make.activity(author, "lives on", ttl=None, reply_to=expired)
    make.activity(author, "lives on", ttl=None, reply_to=reply)
    make.activity(author, "bystander", reply_to=make.activity(author, "bystander"))

    ended = purge_batch(service)
    assert ended is not None
    assert ended.ended == 2
    while purge_batch(service) != Purged(0, 0, 0, 0, None):
        pass
    assert messages_left(make) == ["bystander", "bystander"]


MESSAGES = """
    INSERT INTO messages (message_group_uuid, user_uuid, message, created_at, expires_at)
    SELECT %s, %s, 'expired', now() - interval '2 hours', now() - n * interval '1 s' FROM generate_series(0, %s) AS n
"""


@pytest.mark.usefixtures("bystander")
def test_purge_deletes_expired_messages_only(owner_url: str, service: Connection, make: Make) -> None:
    lin, kofi = make.user(), make.user()
    group = make.conversation(lin, kofi)
    make.message(group, lin, "stays", age="2 hours")
    make.message(group, lin, "ends later", age="1 hour", ttl="61 minutes")
    make.owner.execute(MESSAGES, [group, kofi.uuid, BATCH])
    ended = make.conversation(lin, make.user())
    make.message(ended, lin, "expired", age="1 hour", ttl="1 hour")

    first = purge_batch(service)

    assert first is not None
    assert (first.messages, first.is_busy) == (BATCH, True)
    assert purge(owner_url) == (0, 2, 0)
    left = "SELECT message FROM messages WHERE message_group_uuid IN (%s, %s) ORDER BY message"
    assert make.owner.execute(left, [group, ended]).fetchall() == [("ends later",), ("stays",)]
    # The conversation stays, and the candidates for its last message go with the messages.
    assert rows(owner_url, f"SELECT uuid FROM message_groups WHERE uuid = '{ended}'") == [(ended,)]
    candidates = "SELECT message FROM last_messages JOIN messages ON uuid = message_uuid WHERE {} ORDER BY message"
    assert rows(owner_url, candidates.format(f"last_messages.message_group_uuid IN ('{group}', '{ended}')")) == [
        *(("ends later",), ("stays",))
    ]


def test_purge_skips_locked_messages(owner_url: str, make: Make) -> None:
    lin = make.user()
    group = make.conversation(lin, make.user())
    make.message(group, lin, "free", age="1 hour", ttl="1 hour")
    locked = make.message(group, lin, "locked", age="2 hours", ttl="1 hour")

    with make.owner.transaction():
        make.owner.execute("SELECT FROM messages WHERE uuid = %s FOR UPDATE", [locked])
        assert purge(owner_url) == (0, 1, 0)

    assert rows(owner_url, "SELECT message FROM messages") == [("locked",)]


KEYS = """
    INSERT INTO idempotency_keys (user_uuid, key, fingerprint, made, created_at)
    SELECT %s, age::text || ' ' || n, '', gen_random_uuid(), now() - age
    FROM unnest(%s::interval[]) AS age, generate_series(1, 1001) AS n
"""


def test_purge_deletes_keys_one_hour_after_their_expiry(owner_url: str, make: Make) -> None:
    ages = ["0 hours", "24 hours", "24:59:00", "25:00:00", "30 days"]
    make.owner.execute(KEYS, [make.user().uuid, ages])

    assert purge(owner_url) == (0, 0, 2002)

    remaining = rows(owner_url, "SELECT split_part(key, ' ', 1), count(*) FROM idempotency_keys GROUP BY 1 ORDER BY 1")
    assert remaining == [("00:00:00", 1001), ("24:00:00", 1001), ("24:59:00", 1001)]


def test_purge_skips_locked_keys(owner_url: str, make: Make) -> None:
    make.owner.execute(KEYS, [make.user().uuid, ["30 days"]])

    with make.owner.transaction():
        make.owner.execute("SELECT FROM idempotency_keys WHERE key LIKE '% 7' FOR UPDATE")
        assert purge(owner_url) == (0, 0, 1000)

    assert rows(owner_url, "SELECT split_part(key, ' ', 3) FROM idempotency_keys") == [("7",)]


def test_purge_leaves_live_rows_alone(owner_url: str, bystander: User) -> None:
    assert bystander
    assert purge(owner_url) == (0, 0, 0)


def test_service_purges_in_the_background(service_url: str, owner_url: str, make: Make) -> None:
    author = make.user()
    for _ in range(20):
        make.activity(author, "expired", age="1 hour", ttl="1 hour")
    make.activity(author, "bystander")

    with serving(service_url, WEB_CONCURRENCY="2"):
        wait_until(lambda: rows(owner_url, "SELECT message FROM activities") == [("bystander",)])
        make.activity(author, "expired later", age="1 hour", ttl="1 hour")
        wait_until(lambda: rows(owner_url, "SELECT message FROM activities") == [("bystander",)])


class Stopped(BaseException):
    """An exception that ends the purge loop, which survives every other exception."""


def run_purge(conninfo: Callable[[], str], batches: int) -> list[float]:
    """Run the purge loop for a number of pauses, and return their seconds."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == batches:
            raise Stopped

    with pytest.raises(Stopped):
        purge_forever(conninfo, sleep=sleep)
    return pauses


# The state of a server that has become a standby after a failover.
READ_ONLY = "-c default_transaction_read_only=on"


def test_failed_purge_is_retried_and_logged_once(
    service_url: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    make.activity(make.user(), age="1 hour", ttl="1 hour")
    away, standby = make_conninfo(service_url, port=1), make_conninfo(service_url, options=READ_ONLY)
    answers = iter([away, away, standby, None, service_url])

    def conninfo() -> str:
        """Return the next connection string, or fail as a refused RDS token does."""
        answer = next(answers)
        if answer is None:
            raise RuntimeError
        return answer

    with caplog.at_level(logging.WARNING, "cruddur"):
        pauses = run_purge(conninfo, 6)

    assert pauses[:4] == [purging.RETRY_SECONDS] * 4
    assert pauses[5] == purging.INTERVAL_SECONDS
    assert [record.getMessage() for record in caplog.records] == [
        "the purge failed and is tried again: OperationalError "
    ]
    assert messages_left(make) == []


def test_slow_batch_shrinks_and_grows_again(service: Connection, owner: Connection, make: Make) -> None:
    make.activity(make.user(), age="1 hour", ttl="1 hour")
    service.execute("SET statement_timeout = '50 ms'")
    service.execute("SET lock_timeout = 0")
    purge = Purge()
    with owner.transaction():
        owner.execute("LOCK TABLE activities IN ACCESS EXCLUSIVE MODE")
        sizes = []
        for _ in range(5):
            assert purge.run(service) == purging.RETRY_SECONDS
            sizes.append(purge.batch)

    assert sizes == [250, 62, 15, SMALLEST_BATCH, SMALLEST_BATCH]
    # The connection is still the same.
    service.execute("SET statement_timeout = '5 s'")
    purge.run(service)
    assert (purge.batch, messages_left(make)) == (20, [])


def test_purge_backlog_is_logged_once_per_hour(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, purge, now = Clock(), Purge(), datetime.now(UTC)
    monkeypatch.setattr(purging, "time", clock)

    with caplog.at_level(logging.WARNING, "cruddur"):
        for age in (None, 0, 59, 61, 62):
            purge.observe(Purged(0, 0, 0, 0, None if age is None else now - timedelta(minutes=age)))
        assert len(caplog.records) == 1
        clock.now += 3601
        purge.observe(Purged(0, 0, 0, 0, now - timedelta(minutes=90)))

    assert [record.args for record in caplog.records] == [(61,), (90,)]


def test_lock_that_another_session_keeps_is_logged_as_a_backlog(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, service: Connection, owner: Connection
) -> None:
    monkeypatch.setattr(purging, "time", clock := Clock())
    purge = Purge()

    with caplog.at_level(logging.WARNING, "cruddur"), owner.transaction():
        owner.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        for seconds in (3600, 1, 3599, 2):
            clock.now += seconds
            assert purge.run(service) == purging.INTERVAL_SECONDS

    assert [record.getMessage() for record in caplog.records] == [
        "the purge does not keep up: no batch has succeeded for 60 minutes",
        "the purge does not keep up: no batch has succeeded for 120 minutes",
    ]


def test_lasting_failure_is_logged_once_per_hour_as_a_backlog(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, service: Connection
) -> None:
    monkeypatch.setattr(purging, "time", clock := Clock())
    purge = Purge()
    clock.now += 3000
    # A batch that finds nothing succeeds too.
    purge.run(service)

    with caplog.at_level(logging.WARNING, "cruddur"):
        for seconds in (3600, 1, 3599, 2):
            clock.now += seconds
            purge.fail(OSError())

    assert [record.getMessage() for record in caplog.records] == [
        "the purge failed and is tried again: OSError ",
        "the purge does not keep up: no batch has succeeded for 60 minutes",
        "the purge does not keep up: no batch has succeeded for 120 minutes",
    ]


def test_purged_rows_are_a_metric(
    service: Connection, service_url: str, jwks_url: str, make: Make, collector: Collector
) -> None:
    watched(service_url, jwks_url, collector).extensions["database_pool"].close()
    author = make.user()
    for _ in range(3):
        make.activity(author, age="1 hour", ttl="1 hour")
    make.owner.execute(KEYS, [author.uuid, ["30 days"]])
    group = make.conversation(author, make.user())
    make.message(group, author, "expired", age="1 hour", ttl="1 hour")
    before = purged_rows(collector)

    Purge().run(service)

    after = purged_rows(collector)
    assert after["activities"] - before.get("activities", 0) == 3
    assert after["idempotency_keys"] - before.get("idempotency_keys", 0) == 1000
    assert after["messages"] - before.get("messages", 0) == 1
    assert oldest_age(collector) == 0

    make.activity(author, age="2 hours", ttl="1 hour")
    with make.owner.transaction():
        make.owner.execute("SELECT FROM activities FOR UPDATE")
        Purge().run(service)
    assert 3600 <= oldest_age(collector) < 3660

    make.message(group, author, "expired", age="3 hours", ttl="1 hour")
    with make.owner.transaction():
        make.owner.execute("SELECT FROM messages FOR UPDATE")
        Purge().run(service)
    assert 7200 <= oldest_age(collector) < 7260


def oldest_age(collector: Collector) -> float:
    """Return the metric of the oldest expired activity's age in seconds."""
    flush()
    (figures,) = collector.last_metrics().values()
    (point,) = figures["app.purge.oldest.age"].gauge.data_points
    return float(point.as_double or point.as_int)


def purged_rows(collector: Collector) -> dict[str, int]:
    """Return the metric of purged rows by table."""
    flush()
    (figures,) = collector.last_metrics().values()
    if "app.purge.rows" not in figures:
        return {}
    points = figures["app.purge.rows"].sum.data_points
    return {point.attributes[0].value.string_value: point.as_int for point in points}
