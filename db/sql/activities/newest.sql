-- The next activities of everyone in feed order, expired ones too: a search without an index reads these and no more.
SELECT
    activities.uuid,
    activities.created_at,
    COALESCE(activities.search_text, lower(normalize(activities.message, NFKC))) AS search_text,
    -- As in live_activities. Its rows would hide how many expired ones the walk passes.
    COALESCE(activities.expires_at, 'infinity') > now() AS is_live
FROM activities
WHERE (activities.created_at, activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY activities.created_at {direction}, activities.uuid {direction}
LIMIT %(visits)s
