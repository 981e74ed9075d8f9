-- All data of a user, for the user: one object with a list for each kind. Each list has the newest `limit` rows at most.
--
-- Activities and messages that have ended, and that the purge has not deleted yet, are in it too.
SELECT
    (SELECT to_json(account) FROM ({users/account}) AS account) AS account,
    now() + %(retention)s::interval AS stored_until,
    (
        SELECT COALESCE(json_agg(listed), '[]')
        FROM (
            SELECT
                activities.uuid,
                activities.message,
                activities.reply_to_activity_uuid,
                COALESCE(activities.expires_at, 'infinity') > now() AS is_live,
                activities.expires_at,
                activities.created_at
            FROM activities
            WHERE activities.user_uuid = %(user_uuid)s
            ORDER BY activities.created_at DESC, activities.uuid DESC
            LIMIT %(limit)s
        ) AS listed
    ) AS activities,
    (
        SELECT COALESCE(json_agg(listed), '[]')
        FROM (
            SELECT
                messages.uuid,
                messages.message_group_uuid,
                messages.message,
                COALESCE(messages.expires_at, 'infinity') > now() AS is_live,
                messages.expires_at,
                messages.created_at
            FROM messages
            WHERE messages.user_uuid = %(user_uuid)s
            ORDER BY messages.created_at DESC, messages.uuid DESC
            LIMIT %(limit)s
        ) AS listed
    ) AS messages,
    (
        SELECT COALESCE(json_agg(listed), '[]')
        FROM (
            SELECT message_groups.uuid, users.handle, message_groups.last_message_at, read_markers.read_at
            FROM message_groups
            JOIN users
                ON users.uuid IN (message_groups.lesser_user_uuid, message_groups.greater_user_uuid)
                AND users.uuid <> %(user_uuid)s
            LEFT JOIN read_markers
                ON read_markers.user_uuid = %(user_uuid)s AND read_markers.feed = message_groups.uuid::text
            WHERE %(user_uuid)s IN (message_groups.lesser_user_uuid, message_groups.greater_user_uuid)
            ORDER BY message_groups.last_message_at DESC, message_groups.uuid DESC
            LIMIT %(limit)s
        ) AS listed
    ) AS conversations,
    (
        SELECT COALESCE(json_agg(listed), '[]')
        FROM (
            SELECT likes.activity_uuid, likes.created_at
            FROM likes
            WHERE likes.user_uuid = %(user_uuid)s
            ORDER BY likes.created_at DESC, likes.activity_uuid DESC
            LIMIT %(limit)s
        ) AS listed
    ) AS likes,
    (
        SELECT COALESCE(json_agg(listed), '[]')
        FROM (
            SELECT reposts.activity_uuid, reposts.created_at
            FROM reposts
            WHERE reposts.user_uuid = %(user_uuid)s
            ORDER BY reposts.created_at DESC, reposts.activity_uuid DESC
            LIMIT %(limit)s
        ) AS listed
    ) AS reposts,
    (
        SELECT COALESCE(json_agg(listed), '[]')
        FROM (
            SELECT users.handle, follows.created_at
            FROM follows
            JOIN users ON users.uuid = follows.followed_uuid
            WHERE follows.follower_uuid = %(user_uuid)s
            ORDER BY follows.created_at DESC, follows.followed_uuid DESC
            LIMIT %(limit)s
        ) AS listed
    ) AS follows,
    (
        SELECT COALESCE(json_agg(listed), '[]')
        FROM (
            SELECT users.handle, mutes.expires_at, mutes.created_at
            FROM mutes
            JOIN users ON users.uuid = mutes.muted_uuid
            WHERE mutes.muter_uuid = %(user_uuid)s
            ORDER BY mutes.created_at DESC, mutes.muted_uuid DESC
            LIMIT %(limit)s
        ) AS listed
    ) AS mutes,
    (
        SELECT COALESCE(json_agg(listed), '[]')
        FROM (
            SELECT users.handle, blocks.created_at
            FROM blocks
            JOIN users ON users.uuid = blocks.blocked_uuid
            WHERE blocks.blocker_uuid = %(user_uuid)s
            ORDER BY blocks.created_at DESC, blocks.blocked_uuid DESC
            LIMIT %(limit)s
        ) AS listed
    ) AS blocks,
    (
        SELECT COALESCE(json_agg(listed), '[]')
        FROM (
            SELECT reports.uuid, reports.activity_uuid, users.handle, reports.category, reports.created_at, reports.expires_at
            FROM reports
            LEFT JOIN users ON users.uuid = reports.reported_uuid
            WHERE reports.reporter_uuid = %(user_uuid)s
            ORDER BY reports.created_at DESC, reports.uuid DESC
            LIMIT %(limit)s
        ) AS listed
    ) AS reports,
    (
        SELECT read_markers.read_at
        FROM read_markers
        WHERE read_markers.user_uuid = %(user_uuid)s AND read_markers.feed = 'notifications'
    ) AS notifications_read_at
