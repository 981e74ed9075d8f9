-- The followers of the user with the handle, in the order of the follows.
SELECT
    follows.created_at,
    follows.follower_uuid AS uuid,
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
JOIN users ON users.uuid = follows.follower_uuid AND users.cognito_user_id IS NOT NULL
WHERE
    follows.followed_uuid = (
        SELECT followed.uuid FROM users AS followed
        WHERE lower(followed.handle COLLATE "C") = lower(%(handle)s COLLATE "C") AND followed.cognito_user_id IS NOT NULL
    )
    AND (follows.created_at, follows.follower_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY follows.created_at {direction}, follows.follower_uuid {direction}
LIMIT %(limit)s + 1
