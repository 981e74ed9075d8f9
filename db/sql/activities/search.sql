-- Live activities, replies too, that hold every word of the term, of those in the CTE `visited`.
--
-- Without ORDER BY the matches keep the order of `visited`, and a full page ends the walk. A sort would read all of it.
WITH matches AS (
    SELECT visited.uuid
    FROM visited
    WHERE visited.is_live AND visited.search_text LIKE ALL (%(words)s)
    LIMIT %(limit)s + 1
)
SELECT
    {columns}
FROM matches
JOIN live_activities ON live_activities.uuid = matches.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
