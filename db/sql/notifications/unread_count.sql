-- Count the reader's notifications after the reader's marker, to a limit, without those of hidden users. Without a
-- marker all are unread. There may be more than the count also after a whole scan. A reader without a row in `users` has
-- no count.
WITH marker AS (
    SELECT COALESCE(
        (
            SELECT read_markers.read_at
            FROM read_markers
            WHERE read_markers.user_uuid = {users/current} AND read_markers.feed = 'notifications'
        ),
        '-infinity'
    ) AS read_at
),
scanned AS MATERIALIZED (
{notifications/newest}
),
counted AS (
    SELECT count(*) AS n
    FROM (
        SELECT scanned.uuid
        FROM scanned
        WHERE
            {users/is_visible(scanned.user_uuid)}
            AND {users/is_present(scanned.user_uuid)}
        LIMIT %(limit)s + 1
    ) AS visible
)
SELECT
    LEAST(counted.n, %(limit)s) AS count,
    counted.n > %(limit)s OR EXISTS (SELECT FROM scanned OFFSET %(scan_limit)s - 1) AS is_more
FROM counted
WHERE {users/current} IS NOT NULL
