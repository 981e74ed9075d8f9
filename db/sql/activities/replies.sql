-- Live replies to one activity.
SELECT
    live_activities.uuid,
    users.display_name,
    users.handle,
    live_activities.message,
    live_activities.replies_count,
    live_activities.reposts_count,
    live_activities.likes_count,
    live_activities.reply_to_activity_uuid,
    live_activities.expires_at,
    live_activities.created_at
FROM live_activities
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    live_activities.reply_to_activity_uuid = %(activity_uuid)s
    AND (live_activities.created_at, live_activities.uuid) {beyond} (%(created_at)s, %(uuid)s)
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
LIMIT %(limit)s + 1
