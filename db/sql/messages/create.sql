-- Create a message in a conversation, by one of its members, if neither blocks the other. Without a ttl the message
-- never expires.
INSERT INTO messages (uuid, message_group_uuid, user_uuid, message, expires_at)
SELECT %(uuid)s, message_groups.uuid, %(user_uuid)s, %(message)s, now() + %(ttl)s::interval
FROM message_groups
JOIN users AS receiver
    ON receiver.uuid IN (message_groups.lesser_user_uuid, message_groups.greater_user_uuid)
    AND receiver.uuid <> %(user_uuid)s
    AND receiver.cognito_user_id IS NOT NULL
WHERE
    message_groups.uuid = %(message_group_uuid)s
    AND %(user_uuid)s IN (message_groups.lesser_user_uuid, message_groups.greater_user_uuid)
    AND {users/is_reachable(receiver.uuid)}
RETURNING
    messages.uuid,
    (SELECT users.display_name FROM users WHERE users.uuid = messages.user_uuid) AS display_name,
    (SELECT users.handle FROM users WHERE users.uuid = messages.user_uuid) AS handle,
    messages.message,
    messages.expires_at,
    messages.created_at,
    messages.message_group_uuid
