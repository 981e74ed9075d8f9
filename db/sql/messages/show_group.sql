-- The conversation of a live message, for its sender, if neither member blocks the other.
SELECT live_messages.message_group_uuid
FROM live_messages
JOIN message_groups ON message_groups.uuid = live_messages.message_group_uuid
JOIN users AS receiver
    ON receiver.uuid IN (message_groups.lesser_user_uuid, message_groups.greater_user_uuid)
    AND receiver.uuid <> %(user_uuid)s
    AND receiver.cognito_user_id IS NOT NULL
WHERE
    live_messages.uuid = %(uuid)s
    AND live_messages.user_uuid = %(user_uuid)s
    AND {users/is_reachable(receiver.uuid)}
