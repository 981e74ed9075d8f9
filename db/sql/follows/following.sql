-- The users whom the user with the handle follows, in the order of the follows.
SELECT
    follows.created_at,
    follows.followed_uuid AS uuid,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                users.uuid,
                users.handle,
                users.display_name
        ) AS item
    ) AS item
FROM follows
JOIN users ON users.uuid = follows.followed_uuid AND users.cognito_user_id IS NOT NULL
WHERE
    follows.follower_uuid = (
        SELECT follower.uuid FROM users AS follower
        WHERE lower(follower.handle COLLATE "C") = lower(%(handle)s COLLATE "C") AND follower.cognito_user_id IS NOT NULL
    )
    AND (follows.created_at, follows.followed_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY follows.created_at {direction}, follows.followed_uuid {direction}
LIMIT %(limit)s + 1
