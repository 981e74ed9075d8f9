-- Follow a user, if the follower has fewer follows than the limit. A repeated follow changes nothing.
--
-- `is_following` is false when the limit was reached. The row of `created` is invisible to the rest of the statement.
WITH created AS (
    INSERT INTO follows (follower_uuid, followed_uuid)
    SELECT %(follower_uuid)s, %(followed_uuid)s
    WHERE
        COALESCE((
            SELECT follow_counts.following_count FROM follow_counts WHERE follow_counts.user_uuid = %(follower_uuid)s
        ), 0) < %(max_follows)s
    ON CONFLICT (follower_uuid, followed_uuid) DO NOTHING
    RETURNING follows.followed_uuid
)
SELECT
    EXISTS (SELECT FROM created)
    OR EXISTS (
        SELECT FROM follows
        WHERE follows.follower_uuid = %(follower_uuid)s AND follows.followed_uuid = %(followed_uuid)s
    ) AS is_following
