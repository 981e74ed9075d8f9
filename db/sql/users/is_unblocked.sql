-- A condition, as users/is_visible without the mutes: neither the reader nor the user {user} blocks the other.
    (
        SELECT true
        FROM block_pairs
        WHERE
            block_pairs.user_uuid = {users/current}
            AND block_pairs.other_user_uuid = {user}
        LIMIT 1
    ) IS NULL
