-- Live activities, replies too, that hold every word of the term. The longest word is rare, and its trigrams find it.
--
-- MATERIALIZED and the sub-select around the word make the planner always use the trigram index. Otherwise it might
-- scan the newest activities of all users and expect to find enough matches soon.
WITH matches AS MATERIALIZED (
    SELECT live_activities.uuid, live_activities.created_at, live_activities.user_uuid
    FROM live_activities
    WHERE
        live_activities.search_text LIKE (SELECT %(longest)s::text)
        AND live_activities.search_text LIKE ALL (%(words)s)
),
page AS (
    SELECT matches.uuid
    FROM matches
    WHERE
        (matches.created_at, matches.uuid) {comparison} (%(created_at)s, %(uuid)s)
        AND {users/is_visible(matches.user_uuid)}
    ORDER BY matches.created_at {direction}, matches.uuid {direction}
    LIMIT %(limit)s + 1
)
SELECT
    {columns}
FROM page
JOIN live_activities ON live_activities.uuid = page.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
