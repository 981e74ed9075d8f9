-- Lock the follower, before a follow of the user with the handle is created or deleted, and return that user.
--
-- Follows of one follower take turns, so that each counts the ones before it. The next statement reads that count: this
-- one may have begun before another follow ended.
SELECT followed.uuid
FROM users AS follower
JOIN users AS followed ON lower(followed.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
WHERE follower.uuid = %(follower_uuid)s
FOR NO KEY UPDATE OF follower
