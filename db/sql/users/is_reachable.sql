-- A condition of a write by `user_uuid`: neither this user nor the user {user} blocks the other.
    (
        SELECT true
        FROM block_pairs
        WHERE
            block_pairs.user_uuid = %(user_uuid)s
            AND block_pairs.other_user_uuid = {user}
        LIMIT 1
    ) IS NULL
