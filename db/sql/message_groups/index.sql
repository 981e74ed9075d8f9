-- A user's conversations, the one with the newest message first, each with its other member, its last message, and the
-- number of unread messages, 100 at most. A user has read what came before a message of the user's own.
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
    last_message.created_at,
    unread.unread_count
FROM mine
JOIN users ON users.uuid = mine.other_user_uuid
CROSS JOIN LATERAL (
    SELECT messages.message, messages.created_at
    FROM messages
    WHERE messages.message_group_uuid = mine.uuid
    ORDER BY messages.created_at DESC, messages.uuid DESC
    LIMIT 1
) AS last_message
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE newest.own_count = 0) AS unread_count
    FROM (
        SELECT
            count(*) FILTER (WHERE messages.user_uuid = %(user_uuid)s)
                OVER (ORDER BY messages.created_at DESC, messages.uuid DESC) AS own_count
        FROM messages
        WHERE
            messages.message_group_uuid = mine.uuid
            AND messages.created_at > COALESCE(
                (
                    SELECT read_markers.read_at
                    FROM read_markers
                    WHERE read_markers.user_uuid = %(user_uuid)s AND read_markers.feed = mine.uuid::text
                ),
                '-infinity'
            )
        ORDER BY messages.created_at DESC, messages.uuid DESC
        LIMIT 100
    ) AS newest
) AS unread
ORDER BY mine.last_message_at DESC, mine.uuid DESC
