-- Follow a user. The statement returns no row when the follow exists already, or the follower has reached the limit.
INSERT INTO follows (follower_uuid, followed_uuid)
SELECT %(follower_uuid)s, %(followed_uuid)s
WHERE
    COALESCE((
        SELECT follow_counts.following_count FROM follow_counts WHERE follow_counts.user_uuid = %(follower_uuid)s
    ), 0) < %(max_follows)s
ON CONFLICT (follower_uuid, followed_uuid) DO NOTHING
RETURNING follows.followed_uuid
