-- The next likes of a user, for the CTE `scanned`, also of expired activities.
SELECT
    likes.created_at,
    likes.activity_uuid AS uuid
FROM likes
WHERE
    likes.user_uuid = %(user_uuid)s
    AND (likes.created_at, likes.activity_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY likes.created_at {direction}, likes.activity_uuid {direction}
LIMIT %(scan_limit)s
