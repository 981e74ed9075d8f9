-- The conversation of two people, made if there is none.
INSERT INTO message_groups (uuid, lesser_user_uuid, greater_user_uuid)
SELECT
    message_group_uuid(%(user_uuid)s, receiver.uuid),
    LEAST(%(user_uuid)s, receiver.uuid),
    GREATEST(%(user_uuid)s, receiver.uuid)
FROM users AS receiver
WHERE lower(receiver.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
-- Changes nothing. After DO NOTHING the row that is there would not be returned.
ON CONFLICT (uuid) DO UPDATE SET uuid = EXCLUDED.uuid
RETURNING message_groups.uuid AS message_group_uuid
