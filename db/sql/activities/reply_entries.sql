-- The next live replies to one activity, for the CTE `scanned`.
SELECT
    live_activities.uuid,
    live_activities.created_at,
    live_activities.user_uuid
FROM live_activities
WHERE
    live_activities.reply_to_activity_uuid = %(activity_uuid)s
    AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
LIMIT %(scan_limit)s
