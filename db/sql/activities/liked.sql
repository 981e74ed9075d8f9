-- Live activities of the CTE `scanned`, the likes of a user, replies too, in the order of the likes.
--
-- Without ORDER BY the CTE `shown` keeps the order of `scanned`, and a full page ends the scan.
WITH shown AS (
    SELECT scanned.created_at, scanned.uuid
    FROM scanned
    WHERE COALESCE((
        SELECT {users/is_unblocked(original.user_uuid)}
        FROM live_activities AS original
        WHERE original.uuid = scanned.uuid
    ), false)
    LIMIT %(limit)s + 1
)
SELECT
    shown.created_at,
    shown.uuid,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                {columns}
        ) AS item
    ) AS item
FROM shown
JOIN live_activities ON live_activities.uuid = shown.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY shown.created_at {direction}, shown.uuid {direction}
