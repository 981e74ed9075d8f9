-- Live activities of the CTE `scanned`, replies too, that hold every word of the term.
--
-- Without ORDER BY the matches keep the order of `scanned`, and a full page ends the scan. A sort would read all of it.
WITH matches AS (
    SELECT scanned.uuid
    FROM scanned
    WHERE
        scanned.is_live
        AND scanned.search_text LIKE ALL (%(words)s)
        AND {users/is_visible(scanned.user_uuid)}
    LIMIT %(limit)s + 1
)
SELECT
    {columns}
FROM matches
JOIN live_activities ON live_activities.uuid = matches.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
