-- A user's conversations, the one with the newest message first, each with its other member and its last message.
WITH mine AS (
    (
        SELECT message_groups.uuid, message_groups.greater_user_uuid AS other_user_uuid, message_groups.last_message_at
        FROM message_groups
        WHERE message_groups.lesser_user_uuid = %(user_uuid)s
        ORDER BY message_groups.last_message_at DESC, message_groups.uuid DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT message_groups.uuid, message_groups.lesser_user_uuid AS other_user_uuid, message_groups.last_message_at
        FROM message_groups
        WHERE message_groups.greater_user_uuid = %(user_uuid)s
        ORDER BY message_groups.last_message_at DESC, message_groups.uuid DESC
        LIMIT %(limit)s
    )
    ORDER BY last_message_at DESC, uuid DESC
    LIMIT %(limit)s
)
SELECT
    mine.uuid,
    users.display_name,
    users.handle,
    last_message.message,
    last_message.created_at
FROM mine
JOIN users ON users.uuid = mine.other_user_uuid
CROSS JOIN LATERAL (
    SELECT messages.message, messages.created_at
    FROM messages
    WHERE messages.message_group_uuid = mine.uuid
    ORDER BY messages.created_at DESC, messages.uuid DESC
    LIMIT 1
) AS last_message
ORDER BY mine.last_message_at DESC, mine.uuid DESC
