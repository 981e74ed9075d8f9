-- Follow a user. The statement returns no row when the follow exists already, the follower has
-- reached the limit, or one of the two blocks the other.
INSERT INTO follows (follower_uuid, followed_uuid)
SELECT %(user_uuid)s, followed.uuid
FROM users AS followed
WHERE
    followed.uuid = %(followed_uuid)s
    AND followed.cognito_user_id IS NOT NULL
    AND {users/is_reachable(followed.uuid)}
    AND COALESCE((
        SELECT follow_counts.following_count FROM follow_counts WHERE follow_counts.user_uuid = %(user_uuid)s
    ), 0) < %(max_follows)s
ON CONFLICT (follower_uuid, followed_uuid) DO NOTHING
RETURNING follows.followed_uuid
