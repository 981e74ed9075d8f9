-- Messages of one conversation, for its members alone.
SELECT
    messages.uuid,
    users.display_name,
    users.handle,
    messages.message,
    messages.created_at
FROM messages
JOIN message_groups ON message_groups.uuid = messages.message_group_uuid
JOIN users ON users.uuid = messages.user_uuid
WHERE
    messages.message_group_uuid = %(message_group_uuid)s
    AND %(user_uuid)s IN (message_groups.lesser_user_uuid, message_groups.greater_user_uuid)
    AND (messages.created_at, messages.uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY messages.created_at {direction}, messages.uuid {direction}
LIMIT %(limit)s + 1
