-- The messages that the schema refuses as they are, if their activity is no reply: their uuids and texts. A reply may be
-- longer, and the caller knows the replies.
SELECT posts.uuid, posts.message
FROM journal.posts
WHERE char_length(posts.message) > %(limit)s OR posts.message !~ '[^\u0001-\u0020\u007f-\u00a0]'
ORDER BY posts.created_at, posts.uuid
