-- The relationships of a user to the users with the handles, in the order of the handles.
--
-- Each probe takes the first row from a pair on, in the primary key's order, because only the primary key serves that.
-- For EXISTS, or for an equality, the planner may also choose to read all followers of a user.
--
-- The sub-select hides the number of handles from the planner, which would plan anew for each array.
SELECT
    users.uuid,
    users.handle,
    COALESCE((
        SELECT follows.follower_uuid = %(user_uuid)s AND follows.followed_uuid = users.uuid
        FROM follows
        WHERE (follows.follower_uuid, follows.followed_uuid) >= (%(user_uuid)s, users.uuid)
        ORDER BY follows.follower_uuid, follows.followed_uuid
        LIMIT 1
    ), false) AS following,
    COALESCE((
        SELECT follows.follower_uuid = users.uuid AND follows.followed_uuid = %(user_uuid)s
        FROM follows
        WHERE (follows.follower_uuid, follows.followed_uuid) >= (users.uuid, %(user_uuid)s)
        ORDER BY follows.follower_uuid, follows.followed_uuid
        LIMIT 1
    ), false) AS followed_by,
    COALESCE((
        SELECT
            mutes.muter_uuid = %(user_uuid)s
            AND mutes.muted_uuid = users.uuid
            AND COALESCE(mutes.expires_at, 'infinity') > now()
        FROM mutes
        WHERE (mutes.muter_uuid, mutes.muted_uuid) >= (%(user_uuid)s, users.uuid)
        ORDER BY mutes.muter_uuid, mutes.muted_uuid
        LIMIT 1
    ), false) AS muting,
    COALESCE((
        SELECT blocks.blocker_uuid = %(user_uuid)s AND blocks.blocked_uuid = users.uuid
        FROM blocks
        WHERE (blocks.blocker_uuid, blocks.blocked_uuid) >= (%(user_uuid)s, users.uuid)
        ORDER BY blocks.blocker_uuid, blocks.blocked_uuid
        LIMIT 1
    ), false) AS blocking
FROM unnest((SELECT %(handles)s::text[])) WITH ORDINALITY AS requested (handle, n)
JOIN users ON lower(users.handle COLLATE "C") = lower(requested.handle COLLATE "C") AND users.cognito_user_id IS NOT NULL
ORDER BY requested.n
