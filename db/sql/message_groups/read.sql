-- Move the marker of a conversation forward, for its members alone, and never into the future.
INSERT INTO read_markers (user_uuid, feed, read_at)
SELECT %(user_uuid)s, message_groups.uuid::text, LEAST(%(until)s, now())
FROM message_groups
WHERE
    message_groups.uuid = %(message_group_uuid)s
    AND %(user_uuid)s IN (message_groups.lesser_user_uuid, message_groups.greater_user_uuid)
ON CONFLICT (user_uuid, feed) DO UPDATE SET read_at = GREATEST(read_markers.read_at, EXCLUDED.read_at)
RETURNING read_markers.read_at AS until
