-- The next replies to the reader and mentions of the reader, for the CTE `scanned`.
(
{notifications/replies}
)
UNION ALL
(
{notifications/mentions}
)
ORDER BY created_at {direction}, uuid {direction}
LIMIT %(scan_limit)s
