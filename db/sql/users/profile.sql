-- A user's public profile, and the time at which its count of activities becomes wrong. The count stops at 10,000, because
-- each counted activity takes time.
SELECT
    (
        SELECT row_to_json(item)
        FROM (
            SELECT
                users.uuid,
                users.cognito_user_id AS cognito_user_uuid,
                users.handle,
                users.display_name,
                users.bio,
                counted.cruds_count,
                COALESCE(follow_counts.followers_count, 0) AS followers_count,
                COALESCE(follow_counts.following_count, 0) AS following_count
        ) AS item
    ) AS item,
    counted.expires_at
FROM users
CROSS JOIN LATERAL (
    SELECT count(*) AS cruds_count, min(counted_activities.expires_at) AS expires_at
    FROM (
        SELECT live_activities.expires_at
        FROM live_activities
        WHERE live_activities.user_uuid = users.uuid AND live_activities.reply_to_activity_uuid IS NULL
        ORDER BY live_activities.created_at DESC, live_activities.uuid DESC
        LIMIT 10000
    ) AS counted_activities
) AS counted
LEFT JOIN follow_counts ON follow_counts.user_uuid = users.uuid
WHERE
    lower(users.handle COLLATE "C") = lower(%(handle)s COLLATE "C")
    AND users.cognito_user_id IS NOT NULL
    AND {users/admits_reader(users.uuid)}
