-- The next notifications of the reader, of every kind, for the CTE `scanned`: `user_uuid` has acted.
--
-- In each of them a sub-select hides the keyset from the planner, as in activities/home_entries.sql.
(
{notifications/replies}
)
UNION ALL
(
{notifications/mentions}
)
UNION ALL
(
{notifications/likes}
)
UNION ALL
(
{notifications/reposts}
)
UNION ALL
(
{notifications/follows}
)
ORDER BY created_at {direction}, uuid {direction}
LIMIT %(scan_limit)s
