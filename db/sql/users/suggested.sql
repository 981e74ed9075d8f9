-- Users whom a user may want to follow, at most 5: first those whom the most of the user's newest 100 followed users
-- follow, then the most followed authors of the newest 500 activities. Of each followed user the newest 50 follows count.
--
-- Both walks end at their limits, so the cost depends neither on the number of follows nor on that of activities.
WITH followed AS MATERIALIZED (
    SELECT follows.followed_uuid AS uuid
    FROM follows
    WHERE follows.follower_uuid = %(user_uuid)s
    ORDER BY follows.created_at DESC, follows.followed_uuid DESC
    LIMIT 100
),
candidates AS MATERIALIZED (
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
ranked AS MATERIALIZED (
    SELECT
        candidates.uuid,
        max(candidates.common) AS common,
        (
            SELECT follow_counts.followers_count
            FROM follow_counts
            WHERE follow_counts.user_uuid = candidates.uuid
        ) AS followers_count
    FROM candidates
    GROUP BY candidates.uuid
)
SELECT
    users.uuid,
    users.handle,
    users.display_name
FROM (
    SELECT ranked.uuid, ranked.common, ranked.followers_count
    FROM ranked
    WHERE
        ranked.uuid <> %(user_uuid)s
        AND (
            SELECT follows.created_at
            FROM follows
            WHERE follows.follower_uuid = %(user_uuid)s AND follows.followed_uuid = ranked.uuid
        ) IS NULL
        AND {users/is_visible(ranked.uuid)}
        AND {users/is_present(ranked.uuid)}
    ORDER BY ranked.common DESC, ranked.followers_count DESC NULLS LAST, ranked.uuid
    LIMIT 5
) AS suggested
JOIN users ON users.uuid = suggested.uuid
ORDER BY suggested.common DESC, suggested.followers_count DESC NULLS LAST, suggested.uuid
