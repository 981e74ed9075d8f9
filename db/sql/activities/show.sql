-- One live activity, also a reply, if the user with the handle wrote it.
SELECT
    {columns}
FROM live_activities
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    live_activities.uuid = %(activity_uuid)s
    AND lower(users.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
    AND {users/admits_reader(users.uuid)}
