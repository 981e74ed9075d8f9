-- Delete a mute. Without the mute the statement returns no row.
DELETE FROM mutes
WHERE mutes.muter_uuid = %(user_uuid)s AND mutes.muted_uuid = %(muted_uuid)s
RETURNING mutes.muted_uuid
