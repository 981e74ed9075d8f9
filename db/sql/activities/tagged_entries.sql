-- The next live activities with a hashtag, for the CTE `scanned`. As in activities/tagged.sql the sub-select hides the
-- hashtag from the planner.
SELECT
    taggings.activity_uuid AS uuid,
    taggings.created_at,
    taggings.user_uuid
FROM taggings
JOIN live_activities ON live_activities.uuid = taggings.activity_uuid
WHERE
    taggings.tag = (SELECT %(tag)s::text)
    AND COALESCE(taggings.expires_at, 'infinity') > now()
    AND (taggings.created_at, taggings.activity_uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY taggings.created_at {direction}, taggings.activity_uuid {direction}
LIMIT %(scan_limit)s
