-- One live message, for its sender.
SELECT
    live_messages.uuid,
    users.display_name,
    users.handle,
    live_messages.message,
    live_messages.expires_at,
    live_messages.created_at,
    live_messages.message_group_uuid
FROM live_messages
JOIN users ON users.uuid = live_messages.user_uuid
WHERE live_messages.uuid = %(uuid)s AND live_messages.user_uuid = %(user_uuid)s
