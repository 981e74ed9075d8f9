-- Live activities that a user likes, replies too, in the order of the likes.
SELECT
    likes.created_at,
    likes.activity_uuid AS uuid,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                {columns}
        ) AS item
    ) AS item
FROM likes
JOIN live_activities ON live_activities.uuid = likes.activity_uuid
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    likes.user_uuid = %(user_uuid)s
    AND (likes.created_at, likes.activity_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY likes.created_at {direction}, likes.activity_uuid {direction}
LIMIT %(limit)s + 1
