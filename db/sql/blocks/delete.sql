-- Delete a block. Without the block the statement returns no row.
DELETE FROM blocks
WHERE blocks.blocker_uuid = %(user_uuid)s AND blocks.blocked_uuid = %(blocked_uuid)s
RETURNING blocks.blocked_uuid
