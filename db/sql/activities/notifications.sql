-- Live replies to a user and live mentions of the user, each once, without the user's own activities.
--
-- The sub-selects hide the user from the planner. For a user with few mentions the planner would find a plan that
-- seems cheaper than the generic one, and plan each execution anew. That takes longer than the read.
WITH replies AS (
    SELECT live_activities.uuid, live_activities.created_at
    FROM live_activities
    WHERE
        live_activities.reply_to_user_uuid = (SELECT %(user_uuid)s::uuid)
        AND live_activities.user_uuid <> %(user_uuid)s
        AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
    ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
    LIMIT %(limit)s + 1
),
-- MATERIALIZED, because the index of mentions has no order: the planner would scan the newest
-- activities of all users and expect to find enough mentions soon.
mentions AS MATERIALIZED (
    SELECT live_activities.uuid, live_activities.created_at
    FROM live_activities
    WHERE
        live_activities.mentions <> '{{}}'
        AND live_activities.mentions @> ARRAY[(SELECT %(user_uuid)s::uuid)]
        AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
),
notifications AS (
    SELECT uuid, created_at FROM replies
    UNION
    SELECT uuid, created_at FROM mentions
    ORDER BY created_at {direction}, uuid {direction}
    LIMIT %(limit)s + 1
)
SELECT
    {columns}
FROM notifications
JOIN live_activities ON live_activities.uuid = notifications.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
