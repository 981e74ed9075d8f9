-- The author of a live activity, and its expiry in UTC, for the preview of a link. The text stays out of previews, which
-- outlive the activity.
SELECT
    users.display_name,
    users.handle,
    to_char(live_activities.expires_at AT TIME ZONE 'UTC', 'FMDD FMMonth YYYY, HH24:MI') AS expires_at
FROM live_activities
JOIN users ON users.uuid = live_activities.user_uuid
WHERE
    live_activities.uuid = %(activity_uuid)s
    AND lower(users.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
