-- Like a live activity. A repeated like changes nothing, and returns no row.
INSERT INTO likes (activity_uuid, user_uuid)
SELECT live_activities.uuid, %(user_uuid)s
FROM live_activities
WHERE live_activities.uuid = %(activity_uuid)s
ON CONFLICT (activity_uuid, user_uuid) DO NOTHING
RETURNING likes.activity_uuid
