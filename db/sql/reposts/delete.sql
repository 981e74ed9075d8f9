-- Delete a user's repost of an activity. Without a repost the statement returns no row.
DELETE FROM reposts
WHERE reposts.activity_uuid = %(activity_uuid)s AND reposts.user_uuid = %(user_uuid)s
RETURNING reposts.activity_uuid
