-- The users who reposted an activity, in the order of the reposts.
SELECT
    reposts.created_at,
    reposts.user_uuid AS uuid,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                users.uuid,
                users.handle,
                users.display_name
        ) AS item
    ) AS item
FROM reposts
JOIN users ON users.uuid = reposts.user_uuid AND users.cognito_user_id IS NOT NULL
WHERE
    reposts.activity_uuid = %(activity_uuid)s
    AND (reposts.created_at, reposts.user_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY reposts.created_at {direction}, reposts.user_uuid {direction}
LIMIT %(limit)s + 1
