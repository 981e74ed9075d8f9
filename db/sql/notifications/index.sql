-- A user's notifications: each with the user who acted, and with the activity, null for a follow.
SELECT
    notifications.created_at,
    notifications.uuid,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                notifications.kind,
                notifications.created_at,
                (
                    SELECT row_to_json(actor)
                    FROM (SELECT actors.uuid, actors.handle, actors.display_name) AS actor
                ) AS "user",
                (
                    SELECT row_to_json(activity)
                    FROM (
                        SELECT
                            {columns}
                    ) AS activity
                    WHERE notifications.activity_uuid IS NOT NULL
                ) AS activity
        ) AS item
    ) AS item
FROM (
{notifications/newest}
) AS notifications
JOIN users AS actors ON actors.uuid = notifications.user_uuid
LEFT JOIN live_activities ON live_activities.uuid = notifications.activity_uuid
LEFT JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY notifications.created_at {direction}, notifications.uuid {direction}
