-- The users who like an activity, in the order of the likes.
SELECT
    likes.created_at,
    likes.user_uuid AS uuid,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                users.uuid,
                users.handle,
                users.display_name
        ) AS item
    ) AS item
FROM likes
JOIN users ON users.uuid = likes.user_uuid AND users.cognito_user_id IS NOT NULL
WHERE
    likes.activity_uuid = %(activity_uuid)s
    AND (likes.created_at, likes.user_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY likes.created_at {direction}, likes.user_uuid {direction}
LIMIT %(limit)s + 1
