-- The next activities of all users in feed order, expired ones too. A search without an index scans these and no more.
SELECT
    activities.uuid,
    activities.created_at,
    activities.user_uuid,
    COALESCE(activities.search_text, lower(normalize(activities.message, NFKC))) AS search_text,
    -- The condition of live_activities. The view itself would hide how many expired rows the scan passes.
    COALESCE(activities.expires_at, 'infinity') > now()
    AND {users/is_present(activities.user_uuid)} AS is_live
FROM activities
WHERE (activities.created_at, activities.uuid) {comparison} (%(created_at)s, %(uuid)s)
ORDER BY activities.created_at {direction}, activities.uuid {direction}
LIMIT %(scan_limit)s
