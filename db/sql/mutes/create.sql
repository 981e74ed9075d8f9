-- Mute a user for a time, null: for ever. A repeated mute gets the new time. The statement returns no row when the muter has
-- reached the limit.
INSERT INTO mutes (muter_uuid, muted_uuid, expires_at)
SELECT %(user_uuid)s, %(muted_uuid)s, now() + %(ttl)s::interval
WHERE
    (
        SELECT count(*)
        FROM mutes
        WHERE mutes.muter_uuid = %(user_uuid)s AND mutes.muted_uuid <> %(muted_uuid)s
    ) < %(max_mutes)s
ON CONFLICT (muter_uuid, muted_uuid) DO UPDATE SET expires_at = EXCLUDED.expires_at
RETURNING mutes.muted_uuid
