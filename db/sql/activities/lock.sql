-- Lock an activity, before a like or a repost of it is created or deleted.
--
-- The purge locks an activity and then deletes its likes and reposts. In the other order the two could deadlock. Writes of one user
-- to one activity also take turns, so that each finds the result of the one before.
SELECT activities.uuid
FROM activities
WHERE activities.uuid = %(activity_uuid)s
FOR NO KEY UPDATE
