"""bin/db-purge: the room of what has expired is freed."""

import re
from concurrent.futures import ThreadPoolExecutor

from tests.make import Make, User
from tests.running import rows, succeeds


def purge(owner_url: str) -> tuple[int, int]:
    """How many activities and idempotency keys bin/db-purge says that it has removed."""
    said = succeeds("db-purge", CONNECTION_URL=owner_url)
    found = re.fullmatch(r"(\d+) activities removed, and their replies\n(\d+) idempotency keys removed\n", said)
    return int(found[1]), int(found[2])


def test_a_purge_removes_what_has_expired_and_nothing_else(owner_url: str, make: Make) -> None:
    author = make.user()
    for _ in range(1001):
        make.activity(author, "expired", age="1 hour", ttl="1 hour")
    parent = make.activity(author, "expired", age="2 hours", ttl="1 hour")
    make.activity(author, "expired", age="2 hours", ttl="1 hour", reply_to=parent)
    live = make.activity(author, "bystander", age="1 hour", ttl="2 hours")
    make.activity(author, "expired", age="1 hour", ttl="1 hour", reply_to=live)
    make.activity(author, "bystander", age="1 hour", ttl="2 hours", reply_to=live)
    make.activity(author, "bystander", ttl=None)

    assert purge(owner_url) == (1003, 0)

    left = rows(owner_url, "SELECT message, replies_count FROM activities ORDER BY replies_count")
    assert left == [("bystander", 0), ("bystander", 0), ("bystander", 1)]


def test_a_purge_leaves_rows_that_are_in_use(owner_url: str, make: Make) -> None:
    author = make.user()
    make.activity(author, "free", age="1 hour", ttl="1 hour")
    locked = make.activity(author, "locked", age="1 hour", ttl="1 hour")

    with make.owner.transaction():
        make.owner.execute("SELECT FROM activities WHERE uuid = %s FOR UPDATE", [locked.uuid])
        assert purge(owner_url) == (1, 0)

    assert rows(owner_url, "SELECT message FROM activities") == [("locked",)]


def test_several_purges_at_once_do_not_stand_in_each_others_way(owner_url: str, make: Make) -> None:
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
        removed = list(pool.map(lambda _: purge(owner_url), range(3)))

    assert sum(activities for activities, _ in removed) == 2500
    assert rows(owner_url, "SELECT message FROM activities") == [("bystander",)] * 2


KEYS = """
    INSERT INTO idempotency_keys (user_uuid, key, fingerprint, made, created_at)
    SELECT %s, age::text || ' ' || n, '', gen_random_uuid(), now() - age
    FROM unnest(%s::interval[]) AS age, generate_series(1, 1001) AS n
"""


def test_a_purge_removes_keys_once_they_have_been_free_for_an_hour(owner_url: str, make: Make) -> None:
    ages = ["0 hours", "24 hours", "24:59:00", "25:00:00", "30 days"]
    make.owner.execute(KEYS, [make.user().uuid, ages])

    assert purge(owner_url) == (0, 2002)

    left = rows(owner_url, "SELECT split_part(key, ' ', 1), count(*) FROM idempotency_keys GROUP BY 1 ORDER BY 1")
    assert left == [("00:00:00", 1001), ("24:00:00", 1001), ("24:59:00", 1001)]


def test_a_purge_leaves_keys_that_are_in_use(owner_url: str, make: Make) -> None:
    make.owner.execute(KEYS, [make.user().uuid, ["30 days"]])

    with make.owner.transaction():
        make.owner.execute("SELECT FROM idempotency_keys WHERE key LIKE '% 7' FOR UPDATE")
        assert purge(owner_url) == (0, 1000)

    assert rows(owner_url, "SELECT split_part(key, ' ', 3) FROM idempotency_keys") == [("7",)]


def test_a_purge_touches_nothing_else(owner_url: str, bystander: User) -> None:
    assert bystander
    assert purge(owner_url) == (0, 0)
