-- Delete a follow. Without the follow the statement returns no row.
DELETE FROM follows
WHERE follows.follower_uuid = %(user_uuid)s AND follows.followed_uuid = %(followed_uuid)s
RETURNING follows.followed_uuid
