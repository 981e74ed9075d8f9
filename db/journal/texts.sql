-- The messages, and whether each is that of a reply.
SELECT posts.uuid, posts.message, replies.uuid IS NOT NULL
FROM journal.posts
LEFT JOIN journal.replies ON replies.uuid = posts.uuid
