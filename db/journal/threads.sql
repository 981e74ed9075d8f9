-- Replies and the activities that they name, the oldest first: the uuid, that of the parent, and the end in microseconds.
-- A reply names its parent as a uuid or as the text of one. A number names none.
SELECT
    posts.uuid,
    parents.uuid,
    (EXTRACT(EPOCH FROM posts.expires_at) * 1000000)::bigint,
    posts.reply_to IS NOT NULL
FROM journal.posts
LEFT JOIN journal.posts AS parents ON parents.uuid::text = lower(btrim(posts.reply_to)) AND parents.uuid <> posts.uuid
WHERE
    posts.reply_to IS NOT NULL
    OR posts.uuid::text IN (SELECT lower(btrim(named.reply_to)) FROM journal.posts AS named WHERE named.reply_to IS NOT NULL)
ORDER BY posts.created_at, posts.uuid
