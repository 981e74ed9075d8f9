-- Delete a user's like of an activity. Without a like the statement returns no row.
DELETE FROM likes
WHERE likes.activity_uuid = %(activity_uuid)s AND likes.user_uuid = %(user_uuid)s
RETURNING likes.activity_uuid
