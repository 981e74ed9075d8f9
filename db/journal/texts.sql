-- The messages, and whether each is that of a reply.
SELECT old_activities.uuid, old_activities.message, replies.uuid IS NOT NULL
FROM journal.old_activities
LEFT JOIN journal.replies ON replies.uuid = old_activities.uuid
