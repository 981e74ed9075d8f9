-- Live activities of one person, without replies.
SELECT
    {columns}
FROM live_activities
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    -- Found first, as one value: then the index gives the rows in their order, and nothing is sorted.
    live_activities.user_uuid = (
        SELECT author.uuid FROM users AS author
        WHERE lower(author.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
    )
    AND live_activities.reply_to_activity_uuid IS NULL
    AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
LIMIT %(limit)s + 1
