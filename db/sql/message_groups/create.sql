-- Find or create the conversation of two users. Across a block there is none.
INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid)
SELECT
    message_group_uuid(%(user_uuid)s, receiver.uuid),
    LEAST(%(user_uuid)s, receiver.uuid),
    GREATEST(%(user_uuid)s, receiver.uuid)
FROM users AS receiver
WHERE
    lower(receiver.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
    AND receiver.cognito_user_id IS NOT NULL
    AND {users/is_reachable(receiver.uuid)}
-- This update changes nothing. DO NOTHING would not return an existing row.
ON CONFLICT (uuid) DO UPDATE SET uuid = EXCLUDED.uuid
RETURNING message_groups.uuid AS message_group_uuid
