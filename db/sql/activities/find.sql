-- One live activity by its uuid, a reply too.
SELECT
    {columns}
FROM live_activities
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    live_activities.uuid = %(activity_uuid)s
    AND {users/is_unblocked(live_activities.user_uuid)}
