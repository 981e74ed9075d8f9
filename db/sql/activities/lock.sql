-- Lock an activity, before the reader's like or repost of it is created or deleted, and return the reader's uuid.
--
-- The purge locks an activity and then deletes its likes and reposts. In the other order the two could deadlock. Writes of one user
-- to one activity also take turns, so that each finds the result of the one before.
SELECT reader.uuid
FROM activities
CROSS JOIN users AS reader
WHERE
    activities.uuid = %(activity_uuid)s
    AND reader.cognito_user_id = %(reader)s
    AND admit(%(reader)s)
FOR NO KEY UPDATE OF activities
