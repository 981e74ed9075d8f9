-- The replies of the CTE `scanned`, in its order, without those of users whom a block separates from the reader.
WITH unblocked AS (
    SELECT scanned.uuid
    FROM scanned
    WHERE {users/is_unblocked(scanned.user_uuid)}
    LIMIT %(limit)s + 1
)
SELECT
    {columns}
FROM unblocked
JOIN live_activities ON live_activities.uuid = unblocked.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
