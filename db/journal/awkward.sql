-- The messages that the schema refuses as they are, if their activity is no reply: their uuids and texts. A reply may be
-- longer, and the caller knows the replies.
SELECT old_activities.uuid, old_activities.message
FROM journal.old_activities
WHERE char_length(old_activities.message) > %(limit)s OR old_activities.message !~ '[^\u0001-\u0020\u007f-\u00a0]'
ORDER BY old_activities.created_at, old_activities.uuid
