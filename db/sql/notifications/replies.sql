-- Live replies to a user, without the user's own, as notifications.
--
-- The sub-select hides the user from the planner. For a user with few replies the planner would find a plan that
-- seems cheaper than the generic one, and plan each execution anew. That takes longer than the read.
SELECT
    'reply' AS kind,
    live_activities.created_at,
    live_activities.uuid,
    live_activities.user_uuid,
    live_activities.uuid AS activity_uuid
FROM live_activities
WHERE
    live_activities.reply_to_user_uuid = (SELECT %(user_uuid)s::uuid)
    AND live_activities.user_uuid <> %(user_uuid)s
    AND (live_activities.created_at, live_activities.uuid) {comparison} ((SELECT %(created_at)s::timestamptz), %(uuid)s)
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
LIMIT %(scan_limit)s
