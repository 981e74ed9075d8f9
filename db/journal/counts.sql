-- Figures of the journal's activities.
SELECT
    count(*) AS activities,
    COALESCE(sum(posts.likes_count), 0) AS likes,
    COALESCE(sum(posts.reposts_count), 0) AS reposts
FROM journal.posts
