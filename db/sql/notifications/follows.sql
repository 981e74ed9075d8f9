-- Follows of the reader, as notifications.
SELECT
    'follow' AS kind,
    follows.created_at,
    follows.follower_uuid AS uuid,
    follows.follower_uuid AS user_uuid,
    NULL::uuid AS activity_uuid
FROM follows
WHERE
    follows.followed_uuid = {users/current}
    AND (follows.created_at, follows.follower_uuid) {comparison} ((SELECT %(created_at)s::timestamptz), %(uuid)s)
ORDER BY follows.created_at {direction}, follows.follower_uuid {direction}
LIMIT %(scan_limit)s
