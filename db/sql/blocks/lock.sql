-- Lock the current user and the user with the handle, before a block is created or deleted, and return the latter.
--
-- A follow between the two, in either direction, then waits for the block or comes before it. All transactions lock the
-- rows in one order, so that two blocks cannot deadlock.
WITH pair AS MATERIALIZED (
    SELECT users.uuid, lower(users.handle COLLATE "C") = lower(%(handle)s COLLATE "C") AS is_other
    FROM users
    WHERE
        users.uuid IN (
            %(user_uuid)s,
            (
                SELECT other.uuid FROM users AS other
                WHERE lower(other.handle COLLATE "C") = lower(%(handle)s COLLATE "C") AND other.cognito_user_id IS NOT NULL
            )
        )
    ORDER BY users.uuid
    FOR NO KEY UPDATE
)
SELECT pair.uuid
FROM pair
WHERE pair.is_other
