-- Live replies to the reader, without the reader's own, as notifications.
SELECT
    'reply' AS kind,
    live_activities.created_at,
    live_activities.uuid,
    live_activities.user_uuid,
    live_activities.uuid AS activity_uuid
FROM live_activities
WHERE
    live_activities.reply_to_user_uuid = {users/current}
    AND live_activities.user_uuid <> {users/current}
    AND (live_activities.created_at, live_activities.uuid) {comparison} ((SELECT %(created_at)s::timestamptz), %(uuid)s)
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
LIMIT %(scan_limit)s
