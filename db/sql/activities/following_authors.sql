-- The authors of a personal home: a user and those whom the user follows, without the muted and the deleted ones. A block
-- ends follows.
    SELECT %(user_uuid)s::uuid AS uuid
    UNION ALL
    SELECT follows.followed_uuid
    FROM follows
    WHERE
        -- The sub-select hides the user from the planner, which would plan each execution anew.
        follows.follower_uuid = (SELECT %(user_uuid)s::uuid)
        AND follows.followed_uuid NOT IN (
            SELECT mutes.muted_uuid
            FROM mutes
            WHERE mutes.muter_uuid = %(user_uuid)s AND COALESCE(mutes.expires_at, 'infinity') > now()
        )
        AND {users/is_present(follows.followed_uuid)}
