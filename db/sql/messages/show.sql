-- One message, for its sender.
SELECT
    messages.uuid,
    users.display_name,
    users.handle,
    messages.message,
    messages.created_at,
    messages.message_group_uuid
FROM messages
JOIN users ON users.uuid = messages.user_uuid
WHERE
    messages.message_group_uuid = %(message_group_uuid)s
    AND messages.created_at = %(created_at)s
    AND messages.uuid = %(uuid)s
    AND messages.user_uuid = %(user_uuid)s
