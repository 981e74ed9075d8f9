-- The notifications of the CTE `scanned`, in its order, without those of hidden users: each with the user who acted, and
-- with the activity, null for a follow.
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
    -- Without ORDER BY the rows keep the order of `scanned`, and a full page ends the scan.
    SELECT scanned.kind, scanned.created_at, scanned.uuid, scanned.user_uuid, scanned.activity_uuid
    FROM scanned
    WHERE
        {users/is_visible(scanned.user_uuid)}
        AND {users/is_present(scanned.user_uuid)}
    LIMIT %(limit)s + 1
) AS notifications
JOIN users AS actors ON actors.uuid = notifications.user_uuid
LEFT JOIN live_activities ON live_activities.uuid = notifications.activity_uuid
LEFT JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY notifications.created_at {direction}, notifications.uuid {direction}
