-- Repost a live activity. A repeated repost changes nothing, and returns no row. So does one across a block.
INSERT INTO reposts (activity_uuid, user_uuid)
SELECT live_activities.uuid, %(user_uuid)s
FROM live_activities
WHERE
    live_activities.uuid = %(activity_uuid)s
    AND {users/is_reachable(live_activities.user_uuid)}
ON CONFLICT (activity_uuid, user_uuid) DO NOTHING
RETURNING reposts.activity_uuid
