"""bin/db-purge: the room of what has expired is freed."""

from concurrent.futures import ThreadPoolExecutor

from tests.conftest import Make
from tests.running import rows, succeeds


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

    assert succeeds("db-purge", CONNECTION_URL=owner_url) == "1003 activities removed, and their replies\n"

    left = rows(owner_url, "SELECT message, replies_count FROM activities ORDER BY replies_count")
    assert left == [("bystander", 0), ("bystander", 0), ("bystander", 1)]


def test_a_purge_leaves_rows_that_are_in_use(owner_url: str, make: Make) -> None:
    author = make.user()
    make.activity(author, "free", age="1 hour", ttl="1 hour")
    locked = make.activity(author, "locked", age="1 hour", ttl="1 hour")

    with make.owner.transaction():
        make.owner.execute("SELECT FROM activities WHERE uuid = %s FOR UPDATE", [locked.uuid])
        assert succeeds("db-purge", CONNECTION_URL=owner_url) == "1 activities removed, and their replies\n"

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
        said = list(pool.map(lambda _: succeeds("db-purge", CONNECTION_URL=owner_url), range(3)))

    assert sum(int(line.split()[0]) for line in said) == 2500
    assert rows(owner_url, "SELECT message FROM activities") == [("bystander",)] * 2
