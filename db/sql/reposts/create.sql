-- Repost a live activity. A repeated repost changes nothing, and returns no row.
INSERT INTO reposts (activity_uuid, user_uuid)
SELECT live_activities.uuid, %(user_uuid)s
FROM live_activities
WHERE live_activities.uuid = %(activity_uuid)s
ON CONFLICT (activity_uuid, user_uuid) DO NOTHING
RETURNING reposts.activity_uuid
