-- Lock the current user, before a follow or a mute of the user with the handle is created or deleted, and return that user.
--
-- Writes of one user take turns, so that each counts the ones before it. The next statement reads that count: this
-- one may have begun before another write ended.
SELECT other.uuid
FROM users
JOIN users AS other ON lower(other.handle COLLATE "C") = lower(%(handle)s COLLATE "C") AND other.cognito_user_id IS NOT NULL
WHERE users.uuid = %(user_uuid)s
FOR NO KEY UPDATE OF users
