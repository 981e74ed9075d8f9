-- Live activities of a user and of those whom the user follows, without replies.
--
-- Of each author the statement probes for the one activity nearest to the keyset. The page can only have activities of
-- the `limit + 1` authors whose nearest activities come first: those activities alone would fill it. The cost depends on
-- the number of authors, and not on how many activities any of them has, or how old these are.
WITH authors AS MATERIALIZED (
    SELECT %(user_uuid)s::uuid AS uuid
    UNION ALL
    -- The sub-select hides the user from the planner, which would plan each execution anew.
    SELECT follows.followed_uuid FROM follows WHERE follows.follower_uuid = (SELECT %(user_uuid)s::uuid)
),
-- In both walks the array of one author and the order by author leave the planner only the index that begins with the
-- author. For an equality it may also expect to find an author among the newest activities of all users soon, and read
-- all of them for an author without any.
nearest AS MATERIALIZED (
    SELECT authors.uuid AS author_uuid
    FROM authors
    CROSS JOIN LATERAL (
        SELECT live_activities.created_at, live_activities.uuid
        FROM live_activities
        WHERE
            live_activities.user_uuid = ANY (ARRAY[authors.uuid])
            AND live_activities.reply_to_activity_uuid IS NULL
            AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
        ORDER BY
            live_activities.user_uuid {opposite},
            live_activities.created_at {direction},
            live_activities.uuid {direction}
        LIMIT 1
    ) AS activity
    ORDER BY activity.created_at {direction}, activity.uuid {direction}
    LIMIT %(limit)s + 1
),
page AS MATERIALIZED (
    SELECT activity.created_at, activity.uuid
    FROM nearest
    CROSS JOIN LATERAL (
        SELECT live_activities.created_at, live_activities.uuid
        FROM live_activities
        WHERE
            live_activities.user_uuid = ANY (ARRAY[nearest.author_uuid])
            AND live_activities.reply_to_activity_uuid IS NULL
            AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
        ORDER BY
            live_activities.user_uuid {opposite},
            live_activities.created_at {direction},
            live_activities.uuid {direction}
        LIMIT %(limit)s + 1
    ) AS activity
    ORDER BY activity.created_at {direction}, activity.uuid {direction}
    LIMIT %(limit)s + 1
)
SELECT
    {columns}
FROM page
JOIN live_activities ON live_activities.uuid = page.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY page.created_at {direction}, page.uuid {direction}
