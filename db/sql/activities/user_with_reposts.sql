-- The shown entries of the CTE `scanned`, a user's live activities and reposts, in the order of the entries.
--
-- Without ORDER BY the CTE `shown` keeps the order of `scanned`, and a full page ends the scan.
WITH shown AS (
    SELECT scanned.created_at, scanned.uuid, scanned.is_repost
    FROM scanned
    WHERE scanned.is_shown
    LIMIT %(limit)s + 1
)
SELECT
    shown.created_at,
    shown.uuid,
    live_activities.expires_at,
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                {columns},
                CASE WHEN shown.is_repost THEN (
                    SELECT reposter.handle FROM users AS reposter
                    WHERE lower(reposter.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
                ) END AS reposted_by
        ) AS item
    ) AS item
FROM shown
JOIN live_activities ON live_activities.uuid = shown.uuid
JOIN users ON users.uuid = live_activities.user_uuid
ORDER BY shown.created_at {direction}, shown.uuid {direction}
