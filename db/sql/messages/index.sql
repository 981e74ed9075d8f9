-- Live messages of one conversation, for its members alone.
SELECT
    live_messages.uuid,
    users.display_name,
    users.handle,
    live_messages.message,
    live_messages.expires_at,
    live_messages.created_at
FROM live_messages
JOIN message_groups ON message_groups.uuid = live_messages.message_group_uuid
JOIN users ON users.uuid = live_messages.user_uuid
WHERE
    live_messages.message_group_uuid = %(message_group_uuid)s
    AND %(user_uuid)s IN (message_groups.lesser_user_uuid, message_groups.greater_user_uuid)
    AND (live_messages.created_at, live_messages.uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY live_messages.created_at {direction}, live_messages.uuid {direction}
LIMIT %(limit)s + 1
