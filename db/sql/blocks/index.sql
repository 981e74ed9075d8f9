-- The users whom a user blocks, in the order of the blocks.
SELECT
    blocks.created_at,
    blocks.blocked_uuid AS uuid,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                users.uuid,
                users.handle,
                users.display_name
        ) AS item
    ) AS item
FROM blocks
JOIN users ON users.uuid = blocks.blocked_uuid AND users.cognito_user_id IS NOT NULL
WHERE
    blocks.blocker_uuid = %(user_uuid)s
    AND (blocks.created_at, blocks.blocked_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY blocks.created_at {direction}, blocks.blocked_uuid {direction}
LIMIT %(limit)s + 1
