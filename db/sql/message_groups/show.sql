-- A conversation, for its members alone.
SELECT message_groups.uuid
FROM message_groups
WHERE
    message_groups.uuid = %(message_group_uuid)s
    AND %(user_uuid)s IN (message_groups.lesser_user_uuid, message_groups.greater_user_uuid)
