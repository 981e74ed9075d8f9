-- A condition, as users/is_visible: the user {user} does not block the reader.
    (
        SELECT true
        FROM blocks
        WHERE
            blocks.blocker_uuid = {user}
            AND blocks.blocked_uuid = {users/current}
        LIMIT 1
    ) IS NULL
