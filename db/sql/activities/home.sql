-- Live activities of all users, without replies.
SELECT
    {columns}
FROM live_activities
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    live_activities.reply_to_activity_uuid IS NULL
    AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
LIMIT %(limit)s + 1
