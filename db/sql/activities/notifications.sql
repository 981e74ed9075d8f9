-- Live replies to a user and live mentions of the user, each once, without the user's own activities.
WITH notifications AS (
    (
{notifications/replies}
    )
    UNION ALL
    (
{notifications/mentions}
    )
    ORDER BY created_at {direction}, uuid {direction}
    LIMIT %(limit)s + 1
)
SELECT
    {columns}
FROM notifications
JOIN live_activities ON live_activities.uuid = notifications.activity_uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
