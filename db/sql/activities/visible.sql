-- The activities of the CTE `scanned` whose authors the reader sees, in its order.
--
-- Without ORDER BY the CTE `visible` keeps the order of `scanned`, and a full page ends the scan.
WITH visible AS (
    SELECT scanned.uuid
    FROM scanned
    WHERE {users/is_visible(scanned.user_uuid)}
    LIMIT %(limit)s + 1
)
SELECT
    {columns}
FROM visible
JOIN live_activities ON live_activities.uuid = visible.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
