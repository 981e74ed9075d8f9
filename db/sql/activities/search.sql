-- Live activities, replies too, that hold every word of the term, also as a part of a word.
SELECT
    {columns}
FROM live_activities
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    -- No index serves ILIKE ALL: the longest word goes alone, to be found by its trigrams.
    live_activities.message ILIKE %(longest)s
    AND live_activities.message ILIKE ALL (%(others)s)
    AND (live_activities.created_at, live_activities.uuid) {beyond} (%(created_at)s, %(uuid)s)
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
LIMIT %(limit)s + 1
