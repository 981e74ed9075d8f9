-- A user's conversations with a live message, the one with the newest first, each with its other member, its last live
-- message, and the number of unread messages, 100 at most. A user has read what came before a message of the user's own.
--
-- A conversation has a few rows in last_messages. The walk through these in order ends with the page. The sub-select
-- compares inside, so that the planner expects many such rows. For few it would sort all of a user's conversations.
WITH mine AS (
    (
        SELECT
            last_messages.message_uuid,
            last_messages.message_group_uuid,
            last_messages.greater_user_uuid AS other_user_uuid,
            last_messages.created_at
        FROM last_messages
        WHERE
            last_messages.lesser_user_uuid = %(user_uuid)s
            AND COALESCE(last_messages.expires_at, 'infinity') > now()
            AND (
                SELECT newest.message_uuid = last_messages.message_uuid
                FROM last_messages AS newest
                WHERE
                    newest.message_group_uuid = last_messages.message_group_uuid
                    AND COALESCE(newest.expires_at, 'infinity') > now()
                ORDER BY newest.created_at DESC, newest.message_uuid DESC
                LIMIT 1
            )
        ORDER BY last_messages.created_at DESC, last_messages.message_group_uuid DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT
            last_messages.message_uuid,
            last_messages.message_group_uuid,
            last_messages.lesser_user_uuid AS other_user_uuid,
            last_messages.created_at
        FROM last_messages
        WHERE
            last_messages.greater_user_uuid = %(user_uuid)s
            AND COALESCE(last_messages.expires_at, 'infinity') > now()
            AND (
                SELECT newest.message_uuid = last_messages.message_uuid
                FROM last_messages AS newest
                WHERE
                    newest.message_group_uuid = last_messages.message_group_uuid
                    AND COALESCE(newest.expires_at, 'infinity') > now()
                ORDER BY newest.created_at DESC, newest.message_uuid DESC
                LIMIT 1
            )
        ORDER BY last_messages.created_at DESC, last_messages.message_group_uuid DESC
        LIMIT %(limit)s
    )
    ORDER BY created_at DESC, message_group_uuid DESC
    LIMIT %(limit)s
)
SELECT
    mine.message_group_uuid AS uuid,
    users.display_name,
    users.handle,
    live_messages.message,
    live_messages.expires_at,
    live_messages.created_at,
    unread.unread_count
FROM mine
JOIN users ON users.uuid = mine.other_user_uuid
JOIN live_messages ON live_messages.uuid = mine.message_uuid
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE newest.own_count = 0) AS unread_count
    FROM (
        SELECT
            count(*) FILTER (WHERE live_messages.user_uuid = %(user_uuid)s)
                OVER (ORDER BY live_messages.created_at DESC, live_messages.uuid DESC) AS own_count
        FROM live_messages
        WHERE
            live_messages.message_group_uuid = mine.message_group_uuid
            AND live_messages.created_at > COALESCE(
                (
                    SELECT read_markers.read_at
                    FROM read_markers
                    WHERE read_markers.user_uuid = %(user_uuid)s AND read_markers.feed = mine.message_group_uuid::text
                ),
                '-infinity'
            )
        ORDER BY live_messages.created_at DESC, live_messages.uuid DESC
        LIMIT 100
    ) AS newest
) AS unread
ORDER BY mine.created_at DESC, mine.message_group_uuid DESC
