-- A new activity, with the people whom it mentions. Nobody mentions themselves.
INSERT INTO activities (uuid, user_uuid, message, mentions, expires_at)
VALUES (
    %(uuid)s,
    %(user_uuid)s,
    %(message)s,
    ARRAY(
        SELECT mentioned.uuid FROM users AS mentioned
        WHERE lower(mentioned.handle COLLATE "C") = ANY (%(mentions)s) AND mentioned.uuid <> %(user_uuid)s
    ),
    now() + %(ttl)s
)
RETURNING
    activities.uuid,
    (SELECT users.display_name FROM users WHERE users.uuid = activities.user_uuid) AS display_name,
    (SELECT users.handle FROM users WHERE users.uuid = activities.user_uuid) AS handle,
    activities.message,
    activities.replies_count,
    activities.reposts_count,
    activities.likes_count,
    activities.reply_to_activity_uuid,
    activities.expires_at,
    activities.created_at
