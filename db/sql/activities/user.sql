-- Live activities of one user, without replies.
SELECT
    {columns}
FROM live_activities
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    -- The sub-select gives one value first. Then the index returns the rows in order, and Postgres sorts nothing.
    live_activities.user_uuid = (
        SELECT author.uuid FROM users AS author
        WHERE lower(author.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
    )
    AND live_activities.reply_to_activity_uuid IS NULL
    AND (live_activities.created_at, live_activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
LIMIT %(limit)s + 1
