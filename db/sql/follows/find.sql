-- A follow.
SELECT follows.followed_uuid
FROM follows
WHERE follows.follower_uuid = %(user_uuid)s AND follows.followed_uuid = %(followed_uuid)s
