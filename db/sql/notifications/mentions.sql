-- Live mentions of the reader, as notifications. A reply to the reader is one already.
SELECT
    'mention' AS kind,
    mentionings.created_at,
    mentionings.activity_uuid AS uuid,
    live_activities.user_uuid,
    mentionings.activity_uuid
FROM mentionings
JOIN live_activities ON live_activities.uuid = mentionings.activity_uuid
WHERE
    mentionings.user_uuid = {users/current}
    AND COALESCE(mentionings.expires_at, 'infinity') > now()
    AND live_activities.reply_to_user_uuid IS DISTINCT FROM {users/current}
    AND (mentionings.created_at, mentionings.activity_uuid) {comparison} ((SELECT %(created_at)s::timestamptz), %(uuid)s)
ORDER BY mentionings.created_at {direction}, mentionings.activity_uuid {direction}
LIMIT %(scan_limit)s
