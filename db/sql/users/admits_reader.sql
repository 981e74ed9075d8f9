-- A condition, as users/is_visible: the user {user} does not block the reader.
    (
        SELECT true
        FROM blocks
        WHERE
            blocks.blocker_uuid = {user}
            AND blocks.blocked_uuid = (SELECT reader.uuid FROM users AS reader WHERE reader.cognito_user_id = %(reader)s)
        LIMIT 1
    ) IS NULL
