-- Likes of the reader's live activities by others, as notifications.
SELECT
    'like' AS kind,
    likes.created_at,
    likes.user_uuid AS uuid,
    likes.user_uuid,
    likes.activity_uuid
FROM likes
JOIN live_activities ON live_activities.uuid = likes.activity_uuid
WHERE
    likes.author_uuid = {users/current}
    AND likes.user_uuid <> likes.author_uuid
    AND (likes.created_at, likes.user_uuid) {comparison} ((SELECT %(created_at)s::timestamptz), %(uuid)s)
ORDER BY likes.created_at {direction}, likes.user_uuid {direction}
LIMIT %(scan_limit)s
