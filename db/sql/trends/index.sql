-- The hashtags that most users used within the last 24 hours, in activities that stay live for longer than `margin`.
--
-- The statement visits at most `scan_limit` hashtags, the newest first, and finds each activity by its primary key. For a
-- join the planner may also choose to read all activities.
SELECT
    newest.tag AS hashtag,
    count(*) AS count,
    count(DISTINCT newest.user_uuid) AS people
FROM (
    SELECT taggings.tag, taggings.activity_uuid, taggings.user_uuid
    FROM taggings
    WHERE
        taggings.created_at > now() - interval '24 hours'
        AND COALESCE(taggings.expires_at, 'infinity') > now() + %(margin)s
    ORDER BY taggings.created_at DESC
    LIMIT %(scan_limit)s
) AS newest
WHERE (SELECT live_activities.uuid FROM live_activities WHERE live_activities.uuid = newest.activity_uuid) IS NOT NULL
GROUP BY newest.tag
HAVING count(DISTINCT newest.user_uuid) >= 2
ORDER BY people DESC, count DESC, hashtag
LIMIT 10
