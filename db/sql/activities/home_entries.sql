-- The next activities of the home feed, for the CTE `scanned`.
--
-- The sub-select hides the keyset from the planner, which would plan each execution anew: for so many rows a plan for a
-- known time seems much cheaper than the generic one.
SELECT
    live_activities.uuid,
    live_activities.created_at,
    live_activities.user_uuid
FROM live_activities
WHERE
    live_activities.reply_to_activity_uuid IS NULL
    AND (live_activities.created_at, live_activities.uuid) {comparison} ((SELECT %(created_at)s::timestamptz), %(uuid)s)
ORDER BY live_activities.created_at {direction}, live_activities.uuid {direction}
LIMIT %(scan_limit)s
