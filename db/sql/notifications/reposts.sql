-- Reposts of the reader's live activities by others, as notifications.
SELECT
    'repost' AS kind,
    reposts.created_at,
    reposts.user_uuid AS uuid,
    reposts.user_uuid,
    reposts.activity_uuid
FROM reposts
JOIN live_activities ON live_activities.uuid = reposts.activity_uuid
WHERE
    reposts.author_uuid = {users/current}
    AND reposts.user_uuid <> reposts.author_uuid
    AND (reposts.created_at, reposts.user_uuid) {comparison} ((SELECT %(created_at)s::timestamptz), %(uuid)s)
ORDER BY reposts.created_at {direction}, reposts.user_uuid {direction}
LIMIT %(scan_limit)s
