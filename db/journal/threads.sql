-- Replies and the activities that they name, the oldest first: the uuid, that of the parent, and the end in microseconds.
-- A reply names its parent as a uuid or as the text of one. A number names none.
SELECT
    old_activities.uuid,
    parents.uuid,
    (EXTRACT(EPOCH FROM old_activities.expires_at) * 1000000)::bigint,
    old_activities.reply_to IS NOT NULL
FROM journal.old_activities
LEFT JOIN journal.old_activities AS parents ON parents.uuid::text = lower(btrim(old_activities.reply_to)) AND parents.uuid <> old_activities.uuid
WHERE
    old_activities.reply_to IS NOT NULL
    OR old_activities.uuid::text IN (SELECT lower(btrim(named.reply_to)) FROM journal.old_activities AS named WHERE named.reply_to IS NOT NULL)
ORDER BY old_activities.created_at, old_activities.uuid
