-- The next replies to a user and mentions of the user, for the CTE `scanned`.
(
{notifications/replies}
)
UNION ALL
(
{notifications/mentions}
)
ORDER BY created_at {direction}, uuid {direction}
LIMIT %(scan_limit)s
