-- Delete the follows between two users, in both directions. Without a follow the statement returns no row.
DELETE FROM follows
WHERE
    (follows.follower_uuid, follows.followed_uuid) IN (
        (%(user_uuid)s, %(other_user_uuid)s), (%(other_user_uuid)s, %(user_uuid)s)
    )
RETURNING follows.followed_uuid
