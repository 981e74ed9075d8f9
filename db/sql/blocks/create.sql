-- Block a user. The statement returns no row when the blocker has reached the limit.
INSERT INTO blocks (blocker_uuid, blocked_uuid)
SELECT %(user_uuid)s, %(blocked_uuid)s
WHERE
    (
        SELECT count(*)
        FROM blocks
        WHERE blocks.blocker_uuid = %(user_uuid)s AND blocks.blocked_uuid <> %(blocked_uuid)s
    ) < %(max_blocks)s
-- This update changes nothing. DO NOTHING would not return an existing row.
ON CONFLICT (blocker_uuid, blocked_uuid) DO UPDATE SET blocked_uuid = EXCLUDED.blocked_uuid
RETURNING blocks.blocked_uuid
