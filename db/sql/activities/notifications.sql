-- Live replies to a person and live mentions of them, each once, never by themselves.
--
-- The planner is not told who it is: for somebody of few mentions it would find a plan that
-- seems cheaper than one for anybody, and plan anew each time, which takes longer than to read.
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
-- Materialized: their index has no order, and the planner would walk the newest activities
-- of everyone in the hope of meeting enough of them soon.
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
