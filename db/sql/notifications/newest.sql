-- The notifications of a user, of every kind, from a keyset on: `user_uuid` has acted.
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
LIMIT %(limit)s + 1
