"""The statements of the API: each builds its response's JSON, for anonymous readers or for the reader of a token."""

from collections.abc import Callable
from typing import NamedTuple

COLUMNS = """
    activities.uuid,
    users.display_name,
    users.handle,
    activities.message,
    activities.replies_count,
    activities.reposts_count,
    activities.likes_count,
    activities.reply_to_activity_uuid,
    activities.expires_at,
    activities.created_at
"""
AUTHORS = "JOIN users ON users.uuid = activities.user_uuid"
# The last row of a full page is where the next one begins.
PAGE = """
    COALESCE(json_agg(feed), '[]') AS json,
    (array_agg(feed.created_at))[20] AS created_at,
    (array_agg(feed.uuid))[20] AS uuid
"""
REACTIONS = (("liked", "likes"), ("reposted", "reposts"))
# The page of a feed whose rows have other columns besides the ones that it shows.
ITEMS = PAGE.replace("json_agg(feed)", "json_agg(feed.item)")


class Reader(NamedTuple):
    """The parts of a statement that depend on the reader: columns, and conditions on a user."""

    columns: str
    visible: str = ""
    unblocked: str = ""
    admitted: str = ""


def reacted(uuid: str, column: str, table: str) -> str:
    """Return the column that says whether the reader's row is in a table: a look-up by its primary key.

    The statistics of these tables are fixed so low that the planner reads the whole table for EXISTS.
    """
    return f"""
        COALESCE((
            SELECT true
            FROM {table}
            WHERE ({table}.activity_uuid, {table}.user_uuid) >= (activities.uuid, {uuid})
                AND ({table}.activity_uuid, {table}.user_uuid) <= (activities.uuid, {uuid})
            ORDER BY {table}.activity_uuid, {table}.user_uuid
            LIMIT 1
        ), false) AS {column}
    """


def reader(uuid: str) -> Reader:
    """Return the parts for the reader with the uuid of that SQL expression."""
    columns = ", ".join([COLUMNS, *(reacted(uuid, *reaction) for reaction in REACTIONS)])
    return Reader(
        columns,
        f"AND NOT EXISTS (SELECT FROM hidden_users WHERE reader_uuid = {uuid} AND hidden_users.user_uuid = {{0}})",
        f"AND NOT EXISTS (SELECT FROM block_pairs WHERE block_pairs.user_uuid = {uuid} AND other_user_uuid = {{0}})",
        f"AND NOT EXISTS (SELECT FROM blocks WHERE blocked_uuid = {uuid} AND blocker_uuid = {{0}})",
    )


def of_token(sub: str) -> Reader:
    """Return the parts for the reader whose claim `sub` is that parameter."""
    return reader(f"(SELECT readers.uuid FROM users AS readers WHERE readers.cognito_user_id = {sub})")


ANONYMOUS = Reader(COLUMNS)


def by_reader(statement: Callable[[Reader], str], sub: str) -> dict[bool, str]:
    """Return the statement for readers with a token, whose claim `sub` is that parameter, and for those without."""
    return {True: statement(of_token(sub)), False: statement(ANONYMOUS)}


def home(by: Reader) -> str:
    """Return the statement of everyone's activities."""
    return f"""
        WITH feed AS (
            SELECT {by.columns}
            FROM live_activities AS activities {AUTHORS}
            WHERE
                activities.reply_to_activity_uuid IS NULL
                AND (activities.created_at, activities.uuid) < ($1, $2)
                {by.visible.format("activities.user_uuid")}
            ORDER BY activities.created_at DESC, activities.uuid DESC
            LIMIT 20
        )
        SELECT {PAGE} FROM feed
    """


def user(by: Reader, feed: Callable[[Reader], str], page: str) -> str:
    """Return the statement of a user, and of a feed under the profile."""
    return f"""
        WITH profile AS (
            SELECT
                users.uuid,
                users.cognito_user_id AS cognito_user_uuid,
                users.handle,
                users.display_name,
                users.bio,
                (
                    SELECT count(*) FROM (
                        SELECT FROM live_activities
                        WHERE live_activities.user_uuid = users.uuid AND live_activities.reply_to_activity_uuid IS NULL
                        LIMIT 10000
                    ) AS counted
                ) AS cruds_count,
                COALESCE(follow_counts.followers_count, 0) AS followers_count,
                COALESCE(follow_counts.following_count, 0) AS following_count
            FROM users
            LEFT JOIN follow_counts ON follow_counts.user_uuid = users.uuid
            WHERE lower(users.handle COLLATE "C") = lower($3 COLLATE "C") {by.admitted.format("users.uuid")}
        ),
        {feed(by)},
        page AS (SELECT {page} FROM feed)
        SELECT
            json_build_object('profile', profile, 'activities', page.json) AS json,
            page.created_at,
            page.uuid
        FROM profile CROSS JOIN page
    """


def own(by: Reader) -> str:
    """Return the feed of the profile's activities."""
    return f"""
        feed AS (
            SELECT {by.columns}
            FROM live_activities AS activities {AUTHORS}
            WHERE
                activities.user_uuid = (SELECT profile.uuid FROM profile)
                AND activities.reply_to_activity_uuid IS NULL
                AND (activities.created_at, activities.uuid) < ($1, $2)
            ORDER BY activities.created_at DESC, activities.uuid DESC
            LIMIT 20
        )
    """


def with_reposts(by: Reader, condition: str, authors: str = "SELECT profile.uuid FROM profile") -> str:
    """Return the feed of the authors' activities and reposts, each activity once, at the newest of its times."""
    return f"""
        authors AS ({authors}),
        entries AS (
            SELECT activities.uuid, activities.created_at, activities.user_uuid, false AS is_repost
            FROM authors
            JOIN live_activities AS activities ON activities.user_uuid = authors.uuid
            WHERE activities.reply_to_activity_uuid IS NULL
            UNION ALL
            SELECT newest_reposts.*, true
            FROM authors
            CROSS JOIN LATERAL (
                SELECT reposts.activity_uuid, reposts.created_at, reposts.user_uuid
                FROM reposts
                WHERE reposts.user_uuid = authors.uuid
                ORDER BY reposts.created_at DESC, reposts.activity_uuid DESC
                LIMIT 200
            ) AS newest_reposts
        ),
        newest AS (
            SELECT DISTINCT ON (entries.uuid) entries.*
            FROM entries
            ORDER BY entries.uuid, entries.created_at DESC, entries.is_repost, entries.user_uuid
        ),
        feed AS (
            SELECT newest.created_at, newest.uuid, row_to_json(item) AS item
            FROM newest
            JOIN live_activities AS activities ON activities.uuid = newest.uuid
            {AUTHORS}
            JOIN users AS reposters ON reposters.uuid = newest.user_uuid
            CROSS JOIN LATERAL (
                SELECT {by.columns}, CASE WHEN newest.is_repost THEN reposters.handle END AS reposted_by
            ) AS item
            WHERE (newest.created_at, newest.uuid) < ($1, $2) {condition.format("activities.user_uuid")}
            ORDER BY newest.created_at DESC, newest.uuid DESC
            LIMIT 20
        )
    """


def thread(by: Reader) -> str:
    """Return the statement of an activity and its replies, oldest first."""
    return f"""
        WITH activity AS (
            SELECT {by.columns}
            FROM live_activities AS activities {AUTHORS}
            WHERE
                activities.uuid = $3
                AND lower(users.handle COLLATE "C") = lower($4 COLLATE "C")
                {by.admitted.format("users.uuid")}
        ),
        feed AS (
            SELECT {by.columns}
            FROM live_activities AS activities {AUTHORS}
            WHERE
                activities.reply_to_activity_uuid = $3
                AND (activities.created_at, activities.uuid) > ($1, $2)
                {by.unblocked.format("activities.user_uuid")}
            ORDER BY activities.created_at, activities.uuid
            LIMIT 20
        ),
        page AS (SELECT {PAGE} FROM feed)
        SELECT
            json_build_object('activity', activity, 'replies', page.json) AS json,
            page.created_at,
            page.uuid
        FROM activity CROSS JOIN page
    """


def notifications(me: str) -> str:
    """Return the statement of all notifications of the user whose uuid is that parameter."""
    return f"""
        SELECT 'reply' AS kind, activities.created_at, activities.uuid, activities.user_uuid, activities.uuid AS about
        FROM live_activities AS activities
        WHERE activities.reply_to_user_uuid = {me}
        UNION ALL
        SELECT 'mention', mentionings.created_at, mentionings.activity_uuid, activities.user_uuid, activities.uuid
        FROM mentionings
        JOIN live_activities AS activities ON activities.uuid = mentionings.activity_uuid
        WHERE mentionings.user_uuid = {me} AND activities.reply_to_user_uuid IS DISTINCT FROM {me}
        UNION ALL
        SELECT 'like', likes.created_at, likes.user_uuid, likes.user_uuid, likes.activity_uuid
        FROM likes
        JOIN live_activities AS activities ON activities.uuid = likes.activity_uuid
        WHERE likes.author_uuid = {me} AND likes.user_uuid <> likes.author_uuid
        UNION ALL
        SELECT 'repost', reposts.created_at, reposts.user_uuid, reposts.user_uuid, reposts.activity_uuid
        FROM reposts
        JOIN live_activities AS activities ON activities.uuid = reposts.activity_uuid
        WHERE reposts.author_uuid = {me} AND reposts.user_uuid <> reposts.author_uuid
        UNION ALL
        SELECT 'follow', follows.created_at, follows.follower_uuid, follows.follower_uuid, NULL
        FROM follows
        WHERE follows.followed_uuid = {me}
    """


ME, FIRST = reader("$3"), reader("$1")
FOLLOWED = """
    SELECT $3::uuid AS uuid
    UNION ALL
    SELECT follows.followed_uuid FROM follows WHERE follows.follower_uuid = $3
"""
HOME = by_reader(home, "$3")
USER = by_reader(lambda by: user(by, own, PAGE), "$4")
USER_WITH_REPOSTS = by_reader(lambda by: user(by, lambda by: with_reposts(by, by.unblocked), ITEMS), "$4")
THREAD = by_reader(thread, "$5")
FOLLOWING = f"WITH {with_reposts(ME, ME.visible, FOLLOWED)} SELECT {ITEMS} FROM feed"
NOTIFICATIONS = f"""
    WITH notifications AS ({notifications("$3")}),
    feed AS (
        SELECT newest.created_at, newest.uuid, row_to_json(item) AS item
        FROM (
            SELECT notifications.*
            FROM notifications
            WHERE
                (notifications.created_at, notifications.uuid) < ($1, $2)
                AND notifications.user_uuid <> $3
                {ME.visible.format("notifications.user_uuid")}
            ORDER BY notifications.created_at DESC, notifications.uuid DESC
            LIMIT 20
        ) AS newest
        JOIN users AS actors ON actors.uuid = newest.user_uuid
        LEFT JOIN LATERAL (
            SELECT {ME.columns}
            FROM live_activities AS activities {AUTHORS}
            WHERE activities.uuid = newest.about
        ) AS activity ON true
        CROSS JOIN LATERAL (
            SELECT
                newest.kind,
                newest.created_at,
                json_build_object(
                    'uuid', actors.uuid, 'handle', actors.handle, 'display_name', actors.display_name
                ) AS "user",
                CASE WHEN newest.about IS NOT NULL THEN activity END AS activity
        ) AS item
        ORDER BY newest.created_at DESC, newest.uuid DESC
    )
    SELECT {ITEMS} FROM feed
"""
UNREAD = f"""
    WITH notifications AS ({notifications("$1")})
    SELECT json_build_object('count', LEAST(count(*), 100), 'is_more', count(*) > 100)
    FROM (
        SELECT FROM notifications
        WHERE
            notifications.created_at > COALESCE(
                (
                    SELECT read_markers.read_at FROM read_markers
                    WHERE read_markers.user_uuid = $1 AND read_markers.feed = 'notifications'
                ),
                '-infinity'
            )
            AND notifications.user_uuid <> $1
            {FIRST.visible.format("notifications.user_uuid")}
        LIMIT 101
    ) AS unread
"""
READ = """
    INSERT INTO read_markers (user_uuid, feed, read_at) VALUES ($1, 'notifications', LEAST($2, now()))
    ON CONFLICT (user_uuid, feed) DO UPDATE SET read_at = GREATEST(read_markers.read_at, EXCLUDED.read_at)
    RETURNING json_build_object('until', read_markers.read_at)
"""
RELATIONSHIPS = """
    WITH relationship AS (
        SELECT
            users.uuid,
            users.handle,
            EXISTS (
                SELECT FROM follows WHERE follows.follower_uuid = $1 AND follows.followed_uuid = users.uuid
            ) AS following,
            EXISTS (
                SELECT FROM follows WHERE follows.follower_uuid = users.uuid AND follows.followed_uuid = $1
            ) AS followed_by,
            EXISTS (
                SELECT FROM mutes
                WHERE
                    mutes.muter_uuid = $1
                    AND mutes.muted_uuid = users.uuid
                    AND COALESCE(mutes.expires_at, 'infinity') > now()
            ) AS muting,
            EXISTS (
                SELECT FROM blocks WHERE blocks.blocker_uuid = $1 AND blocks.blocked_uuid = users.uuid
            ) AS blocking
        FROM unnest($2::text[]) WITH ORDINALITY AS requested (handle, n)
        JOIN users ON lower(users.handle COLLATE "C") = lower(requested.handle COLLATE "C")
        ORDER BY requested.n
    )
    SELECT COALESCE(json_agg(relationship), '[]') FROM relationship
"""
TRENDS = """
    WITH trend AS (
        SELECT taggings.tag AS hashtag, count(*) AS count, count(DISTINCT taggings.user_uuid) AS people
        FROM taggings
        JOIN live_activities ON live_activities.uuid = taggings.activity_uuid
        WHERE taggings.created_at > now() - interval '24 hours'
        GROUP BY taggings.tag
        HAVING count(DISTINCT taggings.user_uuid) >= 2
        ORDER BY people DESC, count DESC, hashtag
        LIMIT 10
    )
    SELECT COALESCE(json_agg(trend), '[]') FROM trend
"""
SUGGESTED = f"""
    WITH followed AS (
        SELECT follows.followed_uuid AS uuid
        FROM follows
        WHERE follows.follower_uuid = $1
        ORDER BY follows.created_at DESC, follows.followed_uuid DESC
        LIMIT 100
    ),
    candidates AS (
        SELECT theirs.uuid, count(*) AS common
        FROM followed
        CROSS JOIN LATERAL (
            SELECT follows.followed_uuid AS uuid
            FROM follows
            WHERE follows.follower_uuid = followed.uuid
            ORDER BY follows.created_at DESC, follows.followed_uuid DESC
            LIMIT 50
        ) AS theirs
        GROUP BY theirs.uuid
        UNION ALL
        SELECT DISTINCT newest.user_uuid, 0
        FROM (
            SELECT live_activities.user_uuid
            FROM live_activities
            WHERE live_activities.reply_to_activity_uuid IS NULL
            ORDER BY live_activities.created_at DESC, live_activities.uuid DESC
            LIMIT 500
        ) AS newest
    ),
    ranked AS (
        SELECT candidates.uuid, max(candidates.common) AS common, max(follow_counts.followers_count) AS followers
        FROM candidates
        LEFT JOIN follow_counts ON follow_counts.user_uuid = candidates.uuid
        WHERE
            candidates.uuid <> $1
            AND NOT EXISTS (
                SELECT FROM follows WHERE follows.follower_uuid = $1 AND follows.followed_uuid = candidates.uuid
            )
            {FIRST.visible.format("candidates.uuid")}
        GROUP BY candidates.uuid
        ORDER BY common DESC, followers DESC NULLS LAST, candidates.uuid
        LIMIT 5
    ),
    suggested AS (
        SELECT users.uuid, users.handle, users.display_name
        FROM ranked
        JOIN users ON users.uuid = ranked.uuid
        ORDER BY ranked.common DESC, ranked.followers DESC NULLS LAST, ranked.uuid
    )
    SELECT COALESCE(json_agg(suggested), '[]') FROM suggested
"""
VIEWER = "SELECT users.uuid FROM users WHERE users.cognito_user_id = $1"
CREATE = f"""
    WITH activities AS (
        INSERT INTO activities (user_uuid, message, mentions, expires_at)
        VALUES (
            $1,
            $2,
            ARRAY(
                SELECT users.uuid FROM users
                WHERE lower(users.handle COLLATE "C") = ANY ($3::text[]) AND users.uuid <> $1
            ),
            now() + $4::interval
        )
        RETURNING *
    ),
    activity AS (
        SELECT {COLUMNS}, false AS liked, false AS reposted FROM activities {AUTHORS}
    )
    SELECT row_to_json(activity) FROM activity
"""
LIKE = f"""
    INSERT INTO likes (activity_uuid, user_uuid)
    SELECT activities.uuid, $1
    FROM live_activities AS activities
    WHERE activities.uuid = $2 {FIRST.unblocked.format("activities.user_uuid")}
    ON CONFLICT DO NOTHING
"""
LIKED = f"""
    WITH activity AS (
        SELECT {FIRST.columns}
        FROM live_activities AS activities {AUTHORS}
        WHERE activities.uuid = $2 {FIRST.unblocked.format("activities.user_uuid")}
    )
    SELECT row_to_json(activity) FROM activity
"""
