"""Query plans: every query plans against the schema, and the rows visited do not grow with the table."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Any
from uuid import UUID

import psycopg
import pytest
from flask import Flask
from psycopg.conninfo import make_conninfo
from pytest_postgresql import factories
from pytest_postgresql.executors import NoopExecutor
from pytest_postgresql.janitor import DatabaseJanitor

from harness.waiting import wait_until
from lib import queries
from lib.db import Db
from lib.pagination import FIRST_PAGE, NEWEST, Order
from lib.queries import PagedQuery, array_statement, object_statement, page_statement
from ops.command import ROOT, Database
from ops.explain import Cost, Query, measure, page_query, plan_cost, service_queries
from ops.fake_data import Size, fake_data
from ops.seed import seed
from services.following_activities import FOLLOWING_ACTIVITIES
from services.home_activities import HOME, VISIBLE_HOME
from services.likes import LIKED
from services.messages import MESSAGES
from services.notifications import NOTIFICATIONS as ALL_NOTIFICATIONS
from services.notifications_activities import NOTIFICATIONS
from services.search_activities import MAX_MATCHES, SEARCH
from services.show_activity import REPLIES, UNBLOCKED_REPLIES
from services.tagged_activities import TAGGED, VISIBLE_TAGGED
from services.trends import MAX_TAGGINGS
from services.user_activities import USER, USER_WITH_REPOSTS
from tests.conftest import load_schema
from tests.factories import Make

# The feeds whose query reads the rows of a scan.
BOUNDED = {
    feed.query: feed
    for feed in (
        *(FOLLOWING_ACTIVITIES, SEARCH, USER_WITH_REPOSTS, LIKED, NOTIFICATIONS, ALL_NOTIFICATIONS, VISIBLE_HOME),
        *(VISIBLE_TAGGED, UNBLOCKED_REPLIES),
    )
}
# The part that such queries have in common.
BOUNDED["activities/visible"] = VISIBLE_HOME
THREAD = """
    SELECT users.handle, live_activities.uuid
    FROM live_activities JOIN users ON users.uuid = live_activities.user_uuid
    ORDER BY live_activities.replies_count DESC LIMIT 1
"""
# Conditions on a user. Each query that includes one is planned below.
CONDITIONS = {"users/admits_reader", "users/is_reachable", "users/is_present", "users/is_unblocked", "users/is_visible"}


def load_crowd(**parts: Any) -> None:
    """Load the schema, and the activities that some tests extend: generating them takes longer than copying them."""
    load_schema(**parts)
    parts.pop("autocommit")
    database = Database("CONNECTION_URL", make_conninfo("", **parts))
    fake_data(database, Size(users=2_000, activities=20_000, likes=2_000, reposts=2_000))


crowded_noproc = factories.postgresql_noproc(dbname="crowded", load=[load_crowd], depends_on="server")
crowded = factories.postgresql("crowded_noproc")


@pytest.fixture
def crowd(crowded: psycopg.Connection) -> psycopg.Connection:
    """Return the owner's connection to a copy of these activities, in autocommit."""
    crowded.autocommit = True
    return crowded


def sql_files() -> list[str]:
    """Return the name of every query."""
    files = {str(path.relative_to(queries.FOLDER).with_suffix("")) for path in queries.FOLDER.rglob("*.sql")}
    return sorted(files - {queries.COLUMNS, queries.READER_COLUMN} - CONDITIONS)


def test_every_query_plans_against_the_schema_and_is_used(owner: psycopg.Connection, subtests: pytest.Subtests) -> None:
    code = "".join(path.read_text() for path in (ROOT / "backend-flask").rglob("*.py"))
    inclusions = "".join(path.read_text() for path in queries.FOLDER.rglob("*.sql"))
    names = sql_files()
    assert "activities/home" in names

    for name in names:
        with subtests.test(name):
            explain(owner, name)
            assert f'"{name}"' in code or f"{{{name}}}" in inclusions


def explain(owner: psycopg.Connection, name: str) -> None:
    """Plan the query for an anonymous client and for a reader."""
    text = queries.load_sql(name)
    assert text.startswith("-- ")
    assert ";" not in text
    assert set(re.findall(r"{(\w+)}", text)) <= {"comparison", "direction", "opposite", "opposite_comparison"}
    parameters = dict.fromkeys(re.findall(r"%\((\w+)\)s", text))
    feed = BOUNDED.get(name, PagedQuery(name))
    # A count of a feed's rows returns an object.
    is_feed = "{direction}" in text and not name.endswith("_count")
    for has_reader in (False, True):
        statement = (
            page_statement(feed, Order.NEWEST_FIRST, is_first=False, is_default_limit=False, has_reader=has_reader)
            if is_feed
            else object_statement(name, has_reader=has_reader)
        )
        # The parameters of the query that selects the feed's rows, and the reader.
        parameters |= dict.fromkeys(re.findall(r"%\((\w+)\)s", statement.decode()))
        owner.execute(b"EXPLAIN " + statement, {**parameters, "limit": 1, "scan_limit": 1})


def test_columns_of_an_activity_are_listed_in_one_file() -> None:
    listing = queries.FOLDER / f"{queries.COLUMNS}.sql"

    assert listing.read_text().startswith("-- ")
    for column in ("replies_count", "reposts_count", "likes_count"):
        assert [path for path in queries.FOLDER.rglob("*.sql") if column in path.read_text()] == [listing]


@pytest.mark.slow
def test_first_page_uses_a_generic_plan(app: Flask, owner_url: str) -> None:
    database = Database("CONNECTION_URL", owner_url)
    fake_data(database, Size(users=2_000, activities=20_000, likes=20_000, reposts=20_000, follows=20_000))
    with database.connect() as connection:
        people = connection.execute("SELECT uuid, handle, cognito_user_id FROM users LIMIT 20").fetchall()
        author, activity_uuid = connection.execute(THREAD).fetchall()[0]
        thread = {"handle": author, "activity_uuid": activity_uuid}

    with app.extensions["database_pool"].pool.connection() as connection:
        db = Db(lambda: nullcontext(connection))
        for uuid, handle, reader in people:
            db.query_page(HOME, FIRST_PAGE)
            db.query_page(TAGGED, FIRST_PAGE, tag="cloud")
            db.query_page(USER, FIRST_PAGE, handle=handle)
            db.query_page(USER_WITH_REPOSTS, FIRST_PAGE, handle=handle)
            db.query_page(NOTIFICATIONS, FIRST_PAGE, reader=reader)
            db.query_page(ALL_NOTIFICATIONS, FIRST_PAGE, reader=reader)
            db.query_object("notifications/unread_count", uuid=NEWEST.uuid, reader=reader)
            db.query_page(VISIBLE_HOME, FIRST_PAGE, reader=reader)
            db.query_page(VISIBLE_TAGGED, FIRST_PAGE, tag="cloud", reader=reader)
            db.query_page(LIKED, FIRST_PAGE, user_uuid=uuid, reader=reader)
            db.query_page(FOLLOWING_ACTIVITIES, FIRST_PAGE, reader=reader)
            db.query_array("users/relationships", user_uuid=uuid, handles=[handle])
            db.query_page(REPLIES, FIRST_PAGE, **thread)
            db.query_page(UNBLOCKED_REPLIES, FIRST_PAGE, **thread, reader=reader)
        plans = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement ~ %s"
        plan_counts = connection.execute(plans, ["live_activities|unnest"]).fetchall()

    # Postgres compares the cost of five custom plans first, unless a statement has no parameter.
    assert len(plan_counts) == 14
    assert set(plan_counts) == {(15, 5), (20, 0)}


@pytest.mark.slow
@pytest.mark.parametrize("activities", [20_000, 50_000])
def test_rows_visited_do_not_grow_with_the_table(owner_url: str, activities: int) -> None:
    database = Database("CONNECTION_URL", owner_url)
    seed(database)
    fake_data(database, Size(activities // 5, *(activities,) * 4))

    with database.connect() as connection:
        costs = {read.title: measure(connection, read) for read in service_queries(connection)}

    # A page has 21 rows, each with its author. A status has its activity in addition.
    for title in (
        *("home", "home, a page in the middle", "home, the page before it", "profile", "status", "users short"),
        *("notifications", "messages", "likes of an activity", "reposts of an activity"),
    ):
        assert costs[title].rows <= 2 * 21 + 30
        assert costs[title].buffers <= 150
    # A hashtag has a row of its own for each activity. Among a few thousand the planner may sort all of one hashtag.
    assert costs["hashtag"].rows <= 3 * 200
    assert costs["hashtag"].buffers <= 750
    deletions = "deletions_unfinished_idx"
    assert {"taggings_tag_idx", "activities_pkey", "users_uuid_idx", deletions} == set(costs["hashtag"].indexes)
    assert {"activities_home_idx", "users_uuid_idx"} <= set(costs["home"].indexes)
    # `liked` and `reposted` are a probe each for each row, and the statement finds the reader once. The rows of a scan
    # come beside those of the page, and the probes for mutes and blocks find no row. The list of the liked has a like
    # for each row too.
    assert costs["home, with a token"].rows <= 5 * 21 + 1
    assert {"likes_pkey", "reposts_pkey"} < set(costs["home, with a token"].indexes)
    assert costs["liked"].rows <= 6 * 21 + 30
    assert {"likes_user_idx", "likes_pkey", "activities_pkey"} < set(costs["liked"].indexes)
    assert {"likes_activity_idx", "users_uuid_idx"} < set(costs["likes of an activity"].indexes)
    assert {"reposts_activity_idx", "users_uuid_idx"} < set(costs["reposts of an activity"].indexes)
    # The two walks end with the page, one row beyond it, with two probes each at most. The profile also counts.
    assert costs["profile with reposts"].rows <= 3 * 22 + 2 * 21 + 30
    assert {"activities_user_idx", "reposts_user_idx", "reposts_pkey"} < set(costs["profile with reposts"].indexes)
    # No statement but those with a token reads likes for an activity.
    assert not any("likes" in index or "reposts" in index for index in costs["home"].indexes)
    # The first user follows all others, up to 5,000: two probes for each of them, 200 rows and those of the page. All
    # users have reposted one activity: the statement counts those reposts, and looks each up.
    follows, users = min(activities // 5 - 1, 5_000), activities // 5
    for title in ("following, activities", "following, a page in the middle", "following, the page before it"):
        assert costs[title].rows <= 4 * follows + 2 * users + 3 * 200 + 5 * 21
        assert costs[title].buffers <= 10 * follows + 2_500
        assert {"follows_follower_idx", "activities_user_idx", "reposts_user_idx", "activities_pkey"} < set(
            costs[title].indexes
        )
    assert costs["followers of a user"].rows <= 2 * 21 + 2
    assert costs["followers of a user"].buffers <= 100
    # A user follows 5,000 users at most, and the planner may sort them.
    assert costs["users whom a user follows"].rows <= 2 * follows + 2
    assert costs["relationships"].indexes == ("users_handle_key", "follows_pkey", "mutes_pkey", "blocks_pkey")
    # A user for each of two handles, and one of them follows the other. A probe without a relationship visits no row.
    assert costs["relationships"].rows <= 2 + 2
    assert {"activities_user_idx", "users_handle_key"} < set(costs["profile"].indexes)
    # No limit on the rows: reading all of a few thousand users is cheaper than finding 20.
    assert costs["message groups"].buffers <= 300
    walks = {"last_messages_lesser_user_idx", "last_messages_greater_user_idx", "last_messages_message_group_idx"}
    assert walks | {"messages_message_group_idx"} < set(costs["message groups"].indexes)
    assert {"message_groups_pkey", "messages_message_group_idx"} < set(costs["messages"].indexes)
    assert {"activities_reply_to_user_idx", "mentionings_user_idx"} < set(costs["notifications"].indexes)
    # A page reads at most 21 rows of each kind, an unread count 101.
    kinds = {"activities_reply_to_user_idx", "mentionings_user_idx", "likes_author_idx", "reposts_author_idx"}
    kinds.add("follows_followed_idx")
    for title, rows in (("notifications of all kinds", 21), ("unread notifications", 101)):
        assert kinds <= set(costs[title].indexes)
        # No limit on the rows of users, as above.
        assert costs[title].buffers <= 4 * len(kinds) * rows + 400
    assert costs["unread notifications"].rows <= 2 * len(kinds) * 101
    assert {"activities_pkey", "activities_replies_idx"} < set(costs["status"].indexes)
    assert costs["search, a term of one activity"].rows <= 10
    assert "activities_search_idx" in costs["search, a term of one activity"].indexes
    # On a small table, a search may visit all activities, and the planner sorts them.
    if activities > 20_000:
        assert "activities_newest_idx" in costs["search, a term of all"].indexes
        assert costs["search, a term of all"].rows <= 150


@pytest.mark.slow
def test_liked_and_reposted_cost_the_same_for_a_reader_with_many(crowd: psycopg.Connection) -> None:
    for table in ("likes", "reposts"):
        insert = f"""
            INSERT INTO {table} (activity_uuid, user_uuid)
            SELECT live_activities.uuid, users.uuid FROM live_activities CROSS JOIN users
            WHERE users.handle = 'person_7'
            ON CONFLICT DO NOTHING
        """
        crowd.execute(insert.encode())
    ((reader, uuid),) = crowd.execute("SELECT cognito_user_id, uuid FROM users WHERE handle = 'person_7'").fetchall()
    other = Make(crowd).user("other")

    # Both with the statistics from before, in which each user has a single like, and with new ones.
    for _ in range(2):
        home = measure(crowd, page_query("home", VISIBLE_HOME, reader=reader))
        liked = measure(crowd, page_query("liked", LIKED, user_uuid=uuid, reader=reader))
        profile = measure(crowd, page_query("profile", USER_WITH_REPOSTS, handle="person_7", reader=reader))
        # Among so many updated rows the planner may choose an index that has replies too.
        assert home.rows <= 6 * 21 + 5
        assert home.buffers <= 500
        assert liked.rows <= 6 * 21 + 5
        assert liked.buffers <= 600
        assert profile.rows <= 3 * 22 + 4 * 21 + 30
        assert profile.buffers <= 600
        # A probe ends at its key: for another reader it visits no row of these.
        assert measure(crowd, page_query("home", VISIBLE_HOME, reader=other.cognito_user_id)).rows <= home.rows - 2 * 21
        crowd.execute("VACUUM (ANALYZE) likes, reposts, activities")


@pytest.mark.slow
def test_personal_home_costs_the_same_for_authors_without_activities(owner: psycopg.Connection, owner_url: str) -> None:
    # With a single author the planner expects to find any author among the newest activities of all users.
    fake_data(Database("CONNECTION_URL", owner_url), Size(users=1, activities=20_000))
    dormant = """
        INSERT INTO users (handle, display_name, cognito_user_id)
        SELECT 'dormant' || n, 'Dormant', 'dormant-' || n FROM generate_series(1, 301) AS n
    """
    owner.execute(dormant)
    follows = """
        INSERT INTO follows (follower_uuid, followed_uuid)
        SELECT follower.uuid, followed.uuid FROM users AS follower, users AS followed
        WHERE follower.handle = 'dormant301' AND followed.handle LIKE 'dormant%' AND followed.handle <> follower.handle
    """
    owner.execute(follows)
    ((reader,),) = owner.execute("SELECT cognito_user_id FROM users WHERE handle = 'dormant301'").fetchall()
    ((middle, activity_uuid),) = owner.execute(
        "SELECT created_at, uuid FROM live_activities ORDER BY created_at OFFSET 5000 LIMIT 1"
    ).fetchall()

    # Both with the statistics from before, and with new ones.
    for _ in range(2):
        for mode in ("force_custom_plan", "force_generic_plan"):
            owner.execute(f"SET plan_cache_mode = {mode}".encode())
            for order in (Order.NEWEST_FIRST, Order.OLDEST_FIRST):
                parameters = {"reader": reader, "created_at": middle, "uuid": activity_uuid}
                cost = measure(owner, page_query("following", FOLLOWING_ACTIVITIES, order, **parameters))
                assert cost.rows <= 2 * 301 + 30
                assert cost.buffers <= 8 * 301
        owner.execute("RESET plan_cache_mode")
        owner.execute("VACUUM (ANALYZE) users, follows, activities")


@pytest.mark.slow
def test_hashtags_and_trends_visit_a_bounded_number_of_rows(
    crowd: psycopg.Connection, subtests: pytest.Subtests
) -> None:
    # Hashtags of all activities, also of the expired ones, and of a single one.
    insert = """
        INSERT INTO taggings (activity_uuid, tag, user_uuid, expires_at, created_at)
        SELECT uuid, tag, user_uuid, expires_at, now() - (row_number() OVER ()) * interval '1 ms'
        FROM activities CROSS JOIN unnest(%s::text[]) AS added (tag)
        WHERE CASE tag WHEN 'expired' THEN expires_at <= now() WHEN 'rare' THEN uuid = %s ELSE expires_at > now() END
    """
    ((uuid,),) = crowd.execute("SELECT uuid FROM live_activities LIMIT 1").fetchall()
    crowd.execute(insert, [["common", "common2", "common3", "expired", "rare"], uuid])
    trends = array_statement("trends/index")
    margin = {"margin": timedelta(seconds=60), "scan_limit": MAX_TAGGINGS}

    # Both with the statistics from before, in which a hashtag has few activities, and with new ones.
    for vacuum, plan in product(("VACUUM taggings", "VACUUM (ANALYZE) taggings"), ("custom", "generic")):
        crowd.execute(vacuum.encode())
        crowd.execute(f"SET plan_cache_mode = force_{plan}_plan".encode())
        for tag, order in product(("common", "expired", "rare", "unknown"), (Order.NEWEST_FIRST, Order.OLDEST_FIRST)):
            with subtests.test(tag, order=order.name, vacuum=vacuum, plan=plan):
                cost = prepared_cost(crowd, page_query(tag, TAGGED, order, tag=tag))
                assert cost.rows <= {"common": 3 * 21, "rare": 3}.get(tag, 0)
                # The index has expired rows until the purge.
                assert cost.buffers <= 250
                assert "taggings_tag_idx" in cost.indexes
        with subtests.test("trends", vacuum=vacuum, plan=plan):
            cost = prepared_cost(crowd, Query("trends", trends, margin))
            assert MAX_TAGGINGS <= cost.rows <= 2 * MAX_TAGGINGS + 15_000


@pytest.mark.slow
def test_personal_home_visits_few_reposts_of_a_popular_activity(
    owner: psycopg.Connection, owner_url: str, make: Make, subtests: pytest.Subtests
) -> None:
    fake_data(Database("CONNECTION_URL", owner_url), Size(users=5_000, activities=5_000, reposts=5_000))
    reader, author, reposter = (make.user(handle) for handle in ("reader", "author", "reposter"))
    make.follow(reader, author, reposter)
    # Both followed users come before many others who reposted the same, and the reposter has many other reposts.
    popular = [make.activity(author, age=f"{number} hours") for number in range(21)]
    for statement, parameters in (
        (
            """
            INSERT INTO reposts (activity_uuid, user_uuid, created_at)
            SELECT uuid, %s, created_at FROM live_activities WHERE user_uuid <> %s
            """,
            [reposter.uuid, author.uuid],
        ),
        (
            """
            INSERT INTO reposts (activity_uuid, user_uuid)
            SELECT activities.uuid, users.uuid FROM activities, users
            WHERE activities.user_uuid = %s AND users.handle LIKE 'person%%'
            """,
            [author.uuid],
        ),
    ):
        owner.execute(statement.encode(), parameters)
    assert len(make.reposts(popular[0])) == 5_000

    # Both with the statistics from before, and with new ones.
    for vacuum in ("VACUUM", "VACUUM (ANALYZE)"):
        wait_until(partial(vacuumed, owner, vacuum))
        for order, plan in product((Order.NEWEST_FIRST, Order.OLDEST_FIRST), ("custom", "generic")):
            with subtests.test(vacuum, order=order.name, plan=plan):
                owner.execute(f"SET plan_cache_mode = force_{plan}_plan".encode())
                query = page_query("following", FOLLOWING_ACTIVITIES, order, reader=reader.cognito_user_id)
                cost = prepared_cost(owner, query)
                # Of each walk 200 rows, and for each entry ten reposts for each of three authors, and the authors.
                assert cost.rows <= 6 + 4 * 200 + 21 * (10 * 3 + 1 + 3) + 10 * 21
                assert {"reposts_user_idx", "reposts_activity_idx", "reposts_pkey"} < set(cost.indexes)


@pytest.fixture(scope="module")
def costs(server_url: str, postgresql_noproc: NoopExecutor) -> Iterator[dict[str, Cost]]:
    """Yield the cost of each read among 60,000 activities, by the read's title."""
    parameters = {name: getattr(postgresql_noproc, name) for name in ("host", "port", "user", "password")}
    name = f"{postgresql_noproc.dbname}_plans"
    with DatabaseJanitor(**parameters, dbname=name, template_dbname=postgresql_noproc.template_dbname):
        database = Database("CONNECTION_URL", make_conninfo(server_url, dbname=name))
        fake_data(database, Size(users=20, activities=60_000))
        with database.connect() as connection:
            yield {read.title: measure(connection, read) for read in service_queries(connection)}


@pytest.mark.slow
def test_search_without_an_index_visits_its_limit_of_activities(costs: dict[str, Cost]) -> None:
    assert SEARCH.scan is not None
    assert costs["search, two letters of none"].rows == SEARCH.scan.limit == 20_000
    assert costs["search, two letters of none"].indexes[:2] == ("deletions_unfinished_idx", "activities_newest_idx")


@pytest.mark.slow
def test_deletions_of_users_change_no_plan(owner: psycopg.Connection, owner_url: str) -> None:
    database = Database("CONNECTION_URL", owner_url)
    seed(database)
    fake_data(database, Size(4000, *(20_000,) * 4))
    before = {read.title: measure(owner, read) for read in service_queries(owner)}
    deletions = """
        INSERT INTO deletions (sub_hash, user_uuid, outcome, confirmed_at, expires_at)
        SELECT sha256(uuid_send(gen_random_uuid())), gen_random_uuid(), 'deleted', now(), now()
        FROM generate_series(1, 100)
    """
    owner.execute("ALTER TABLE deletions DROP CONSTRAINT deletions_user_uuid_fkey")
    owner.execute(deletions)

    for analyze in ("SELECT", "ANALYZE deletions"):
        owner.execute(analyze.encode())
        for read in service_queries(owner):
            cost = measure(owner, read)
            assert {*cost.indexes} - {"deletions_unfinished_idx"} == {*before[read.title].indexes} - {
                "deletions_unfinished_idx"
            }, read.title
            assert cost.buffers <= before[read.title].buffers + 15, read.title


@pytest.mark.slow
def test_match_count_visits_no_more_than_its_maximum(costs: dict[str, Cost]) -> None:
    # Of 60,000 activities, about 2,500 contain `yesterday`, and far more contain `the`.
    for word in ("yesterday", "the"):
        assert costs[f"search, counting {word}"].rows == MAX_MATCHES + 1
        assert costs[f"search, counting {word}"].indexes == ("activities_search_idx",)
    assert costs["search, counting imported"].rows == 0


@pytest.mark.slow
def test_profile_visits_no_more_than_its_counts_maximum(owner: psycopg.Connection, make: Make) -> None:
    author = make.user("prolific")
    crowd = """
        INSERT INTO activities (user_uuid, message, expires_at, created_at)
        SELECT %s, 'hello', CASE n %% 2 WHEN 0 THEN now() - interval '1 ms' END, now() - n * interval '1 s'
        FROM generate_series(1, 40000) AS n
    """
    owner.execute(crowd, [author.uuid])
    owner.execute("VACUUM (ANALYZE) activities")

    plan_cost = measure(owner, page_query("profile", USER, handle="prolific"))

    # The index scan skips expired activities. The page adds 21 activities, each with its author.
    assert 10_000 <= plan_cost.rows <= 10_000 + 2 * 21 + 30


def vacuumed(connection: psycopg.Connection, vacuum: str) -> bool:
    """VACUUM, and return whether all pages are visible to all. Another session's snapshot may delay that.

    Among few rows, and with pages that VACUUM has not visited, the planner may sort all reposts of a user.
    """
    connection.execute(f"{vacuum} reposts, activities".encode())
    state = "SELECT FROM pg_class WHERE relname IN ('reposts', 'activities') AND relallvisible < relpages"
    return not connection.execute(state.encode()).rowcount


def prepared_cost(connection: psycopg.Connection, query: Query) -> Cost:
    """Return the cost of a prepared statement, whose plan `plan_cache_mode` chooses."""
    names = list(query.parameters)
    text = re.sub(r"%\((\w+)\)s", lambda name: f"${names.index(name[1]) + 1}", query.statement.decode())
    connection.execute(f"PREPARE measured AS {text.replace('%%', '%')}".encode())
    values = f"({', '.join(['%s'] * len(names))})" if names else ""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE measured {values}"
    row = psycopg.ClientCursor(connection).execute(explain.encode(), list(query.parameters.values())).fetchone()
    connection.execute("DEALLOCATE measured")
    assert row is not None
    return plan_cost(row)


@pytest.mark.slow
def test_profile_with_reposts_visits_no_more_than_its_scan(
    crowd: psycopg.Connection, subtests: pytest.Subtests
) -> None:
    make = Make(crowd)
    author, other = make.user("prolific"), make.user("other")
    many = """
        INSERT INTO activities (user_uuid, message, created_at)
        SELECT %s, 'hello', now() - n * interval '1 s' FROM generate_series(1, 5000) AS n
    """
    for user in (author, other):
        crowd.execute(many, [user.uuid])
    reposts = """
        INSERT INTO reposts (activity_uuid, user_uuid, created_at)
        SELECT uuid, %s, now() - interval '1 day' FROM activities WHERE user_uuid = %s
    """
    everything = "UPDATE activities SET expires_at = now() WHERE user_uuid = %s"
    # An own activity and its repost are two entries, of which the newer is shown. An expired original is not shown.
    for title, statement, parameters in (
        ("all own activities are reposted", reposts, [author.uuid, author.uuid]),
        ("all reposts are newer", "UPDATE reposts SET created_at = now() WHERE user_uuid = %s", [author.uuid]),
        ("all of the others' too", reposts, [author.uuid, other.uuid]),
        ("all of the others' have expired", everything, [other.uuid]),
    ):
        crowd.execute(statement.encode(), parameters)
        # Both with the statistics from before, in which users have few reposts, and with new ones.
        for vacuum in ("VACUUM", "VACUUM (ANALYZE)"):
            wait_until(partial(vacuumed, crowd, vacuum))
            for order, plan in product((Order.NEWEST_FIRST, Order.OLDEST_FIRST), ("custom", "generic")):
                with subtests.test(title, order=order.name, plan=plan):
                    crowd.execute(f"SET plan_cache_mode = force_{plan}_plan".encode())
                    cost = prepared_cost(crowd, page_query(title, USER_WITH_REPOSTS, order, handle="prolific"))
                    # The rows of the profile's count, of the scan with two probes each at most, and of the page.
                    assert cost.rows <= 5_000 + 3 * 1_000 + 2 * 21 + 30


# 2,000 conversations, each with seven messages that have ended and that the purge has not deleted. Every second
# conversation has a message that stays.
CONVERSATIONS = """
    INSERT INTO users (handle, display_name, cognito_user_id)
    SELECT 'other_' || n, 'Other', 'other-' || n FROM generate_series(1, 2000) AS n;
    INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid)
    SELECT message_group_uuid(me.uuid, other.uuid), LEAST(me.uuid, other.uuid), GREATEST(me.uuid, other.uuid)
    FROM users AS me JOIN users AS other ON other.handle LIKE 'other\\_%' WHERE me.handle = 'me';
    INSERT INTO messages (message_group_uuid, user_uuid, message, created_at, expires_at)
    SELECT uuid, lesser_user_uuid, 'hello', now() - 100 * interval '1 day' + n * interval '1 s', NULL
    FROM (SELECT message_groups.*, row_number() OVER (ORDER BY uuid) AS n FROM message_groups) AS numbered
    WHERE n % 2 = 0;
    INSERT INTO messages (message_group_uuid, user_uuid, message, created_at, expires_at)
    SELECT uuid, lesser_user_uuid, 'hello', now() - n * interval '1 day', now() - (8 - n) * interval '1 minute'
    FROM message_groups CROSS JOIN generate_series(1, 7) AS n
    ORDER BY n DESC;
"""


def both_plans(connection: psycopg.Connection, query: Query) -> Iterator[Cost]:
    """Yield the cost of a query by each kind of plan."""
    for plan in ("custom", "generic"):
        connection.execute(f"SET plan_cache_mode = force_{plan}_plan".encode())
        yield prepared_cost(connection, query)


def groups_query(user_uuid: UUID) -> Query:
    """Return the query of a user's conversations."""
    return Query("message groups", array_statement("message_groups/index"), {"user_uuid": user_uuid, "limit": 20})


@pytest.mark.slow
def test_conversations_cost_the_same_however_many_have_ended(owner: psycopg.Connection, make: Make) -> None:
    me = make.user("me")
    owner.execute(CONVERSATIONS.encode())
    owner.execute("VACUUM (ANALYZE) users, message_groups, messages, last_messages")

    for cost in both_plans(owner, groups_query(me.uuid)):
        # Of each side at most 20 rows, with a probe each, and for each conversation its message, user, marker and the
        # unread ones.
        assert cost.rows <= 2 * 20 * 2 + 20 * 6
        # The walk skips ended messages inside the index.
        assert cost.buffers <= 700


def test_conversation_of_many_ended_messages_costs_its_page(owner: psycopg.Connection, make: Make) -> None:
    me, other = make.user("me"), make.user("other")
    group = make.conversation(me, other)
    many = """
        INSERT INTO messages (message_group_uuid, user_uuid, message, created_at, expires_at)
        SELECT %s, %s, 'hello', now() - n * interval '1 s', CASE n %% 2 WHEN 0 THEN now() - interval '1 ms' END
        FROM generate_series(1, 20000) AS n
    """
    # The planner's statistics are those of a time without any ended message.
    owner.execute(
        "INSERT INTO messages (message_group_uuid, user_uuid, message) SELECT %s, %s, 'hello'", [group, me.uuid]
    )
    owner.execute("VACUUM (ANALYZE) messages, last_messages, message_groups, users")
    owner.execute("ALTER TABLE messages DISABLE TRIGGER messages_made")
    owner.execute(many, [group, other.uuid])
    owner.execute("ALTER TABLE messages ENABLE TRIGGER messages_made")

    for title, query, rows in (
        ("messages", page_query("messages", MESSAGES, message_group_uuid=group, user_uuid=me.uuid), 21),
        ("groups", groups_query(me.uuid), 100),
    ):
        for vacuum in (None, "VACUUM (ANALYZE) messages"):
            if vacuum:
                owner.execute(vacuum.encode())
            for cost in both_plans(owner, query):
                # Each message, its user and conversation, and the whole of small tables, once more on Postgres 15.
                assert cost.rows <= 4 * rows + 10, title
                assert "messages_message_group_idx" in cost.indexes
