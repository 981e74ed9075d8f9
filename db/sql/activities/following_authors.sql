-- The authors of a personal home: the reader and those whom the reader follows, without the muted and the deleted ones.
-- A block ends follows.
    SELECT {users/current} AS uuid
    UNION ALL
    SELECT follows.followed_uuid
    FROM follows
    WHERE
        follows.follower_uuid = {users/current}
        AND follows.followed_uuid NOT IN (
            SELECT mutes.muted_uuid
            FROM mutes
            WHERE mutes.muter_uuid = {users/current} AND COALESCE(mutes.expires_at, 'infinity') > now()
        )
        AND {users/is_present(follows.followed_uuid)}
