-- The relationships of a user to the users with the handles, in the order of the handles.
--
-- Each probe is an equality by two comparisons, which only the primary key serves, as in activities/reader_column.sql. For
-- EXISTS, or for a plain equality, the planner may also choose to read all followers of a user.
--
-- The sub-select hides the number of handles from the planner, which would plan anew for each array.
SELECT
    users.uuid,
    users.handle,
    COALESCE((
        SELECT true
        FROM follows
        WHERE
            (follows.follower_uuid, follows.followed_uuid) >= (%(user_uuid)s, users.uuid)
            AND (follows.follower_uuid, follows.followed_uuid) <= (%(user_uuid)s, users.uuid)
        ORDER BY follows.follower_uuid, follows.followed_uuid
        LIMIT 1
    ), false) AS following,
    COALESCE((
        SELECT true
        FROM follows
        WHERE
            (follows.follower_uuid, follows.followed_uuid) >= (users.uuid, %(user_uuid)s)
            AND (follows.follower_uuid, follows.followed_uuid) <= (users.uuid, %(user_uuid)s)
        ORDER BY follows.follower_uuid, follows.followed_uuid
        LIMIT 1
    ), false) AS followed_by,
    COALESCE((
        SELECT COALESCE(mutes.expires_at, 'infinity') > now()
        FROM mutes
        WHERE
            (mutes.muter_uuid, mutes.muted_uuid) >= (%(user_uuid)s, users.uuid)
            AND (mutes.muter_uuid, mutes.muted_uuid) <= (%(user_uuid)s, users.uuid)
        ORDER BY mutes.muter_uuid, mutes.muted_uuid
        LIMIT 1
    ), false) AS muting,
    COALESCE((
        SELECT true
        FROM blocks
        WHERE
            (blocks.blocker_uuid, blocks.blocked_uuid) >= (%(user_uuid)s, users.uuid)
            AND (blocks.blocker_uuid, blocks.blocked_uuid) <= (%(user_uuid)s, users.uuid)
        ORDER BY blocks.blocker_uuid, blocks.blocked_uuid
        LIMIT 1
    ), false) AS blocking
FROM unnest((SELECT %(handles)s::text[])) WITH ORDINALITY AS requested (handle, n)
JOIN users ON lower(users.handle COLLATE "C") = lower(requested.handle COLLATE "C") AND users.cognito_user_id IS NOT NULL
ORDER BY requested.n
